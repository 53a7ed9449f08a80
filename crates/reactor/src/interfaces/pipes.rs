//! Pipes, terminals and files as connections: one of them, or one for each direction.
//!
//! Source: `StandardIO` of `twisted.internet.stdio`; `ProcessReader` and `ProcessWriter` of `twisted.internet.process`.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Key, succeed};
use ropewalk_sys::{OwnedWaitable, PipeEnd, Sharing};

use super::Interface;
use super::core::{Phase, TriggerId};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::task::AddTimeout;
use crate::transports::{Keys, Origin, Transport, WeakTransport};

/// The time that a stopped reactor gives the connection of pipes to send what is queued.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

impl Reactor {
    /// Makes one connection out of two descriptors: bytes from `input` are received, and written bytes are sent to
    /// `output`.
    ///
    /// The descriptors may be pipes, terminals, sockets or files. Their flags are not changed, so other programs may
    /// use them as before. `factory` builds a protocol and is neither started nor stopped. The transport's addresses
    /// are [unnamed](Address::Unnamed). May be called from any callback.
    ///
    /// - The end of `input` is the end of the received stream.
    /// - [`lose_write_connection`](Transport::lose_write_connection) closes `output`.
    /// - When the last reader of `output` is gone, or a write fails, such as on a full disk, everything received is
    ///   delivered: at most 1 MiB, and for two seconds if the protocol is paused. Then `connection_lost` gets
    ///   [`Error::ConnectionLost`] with the system's error. An event provider may notice such a reader's end up to a
    ///   second later.
    /// - When the reactor stops, a connection with queued bytes closes as by `lose_connection`, and the end of the run
    ///   waits for it: two seconds at most.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (mut keyboard, input) = UnixStream::pair().unwrap(); // or a pipe or a terminal
    /// let (output, _screen) = UnixStream::pair().unwrap();
    /// let shell = AccumulatingProtocol::new();
    /// let _transport = reactor.adopt_pipes(input, output, &shell.factory())?;
    /// keyboard.write_all(b"ls\n").unwrap();
    /// while shell.data() != b"ls\n" {
    ///     reactor.iterate(Some(Duration::from_secs(1)))?;
    /// }
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the event provider has no pipes, [`Error::Closed`] if the factory builds no protocol,
    /// [`Error::Panicked`] if it panics, [`Error::Waiting`] while the provider waits in another thread, and
    /// [`Error::Io`] if the system fails. The descriptors are then closed.
    pub fn adopt_pipes(
        &self,
        input: impl Into<OwnedWaitable>,
        output: impl Into<OwnedWaitable>,
        factory: &dyn Factory,
    ) -> Result<Transport> {
        self.require(Interface::Pipes)?;
        let receive = self.pipe_key(input.into(), PipeEnd::Reader, Sharing::Shared)?;
        let closing_input = |error| {
            self.0.close_stream(receive);
            error
        };
        let send = self.pipe_key(output.into(), PipeEnd::Writer, Sharing::Shared).map_err(closing_input)?;
        // From here on the provider reports that the output has lost its reader.
        self.0.tell_streams(move |streams| drop(streams.set_reading(send, false)));
        self.begin_on_pipes(Keys::Pair { receive, send }, factory)
    }

    /// Makes a connection out of one pipe, terminal or file.
    ///
    /// A [`PipeEnd::Reader`] only receives: what its protocol writes is dropped. A [`PipeEnd::Writer`] only sends. When
    /// the last reader is gone, `connection_lost` follows within a second, also while nothing is written. It gets
    /// [`Error::ConnectionLost`] with the error `BrokenPipe`. [`PipeEnd::Both`] is for the master of a
    /// pseudo-terminal, and [`PipeEnd::Device`] for a device that can vanish. Neither can end one direction alone, so
    /// `lose_write_connection` only refuses later writes.
    ///
    /// `sharing` says whether another program uses the same open pipe or terminal. [`Sharing::Owned`] makes it
    /// non-blocking. For everything else see [`adopt_pipes`](Reactor::adopt_pipes). May be called from any callback.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use ropewalk::Reactor;
    /// use ropewalk::sys::{PipeEnd, Sharing};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (mut reader, writer) = UnixStream::pair().unwrap(); // or a pipe
    /// let protocol = AccumulatingProtocol::new();
    /// let transport = reactor.adopt_pipe(writer, PipeEnd::Writer, Sharing::Owned, &protocol.factory())?;
    /// transport.write(b"hello");
    /// transport.lose_connection();
    /// reactor.prepare()?;
    /// let mut received = String::new();
    /// reader.read_to_string(&mut received).unwrap();
    /// assert_eq!(received, "hello");
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`adopt_pipes`](Reactor::adopt_pipes).
    pub fn adopt_pipe(
        &self,
        handle: impl Into<OwnedWaitable>,
        end: PipeEnd,
        sharing: Sharing,
        factory: &dyn Factory,
    ) -> Result<Transport> {
        self.require(Interface::Pipes)?;
        let key = self.pipe_key(handle.into(), end, sharing)?;
        self.begin_on_pipes(Keys::Pipe(key, end), factory)
    }

    fn pipe_key(&self, handle: OwnedWaitable, end: PipeEnd, sharing: Sharing) -> Result<Key> {
        let adopted = self.0.pipes(|pipes| pipes.adopt_pipe(handle, end, sharing))?;
        adopted.map_err(Error::io("cannot adopt a pipe"))
    }

    fn begin_on_pipes(&self, keys: Keys, factory: &dyn Factory) -> Result<Transport> {
        self.begin_adopted(keys, Address::Unnamed, factory, Some(Rc::new(PipeOrigin::default())))
    }
}

/// Delays the end of a run for as long as a connection of pipes sends.
#[derive(Default)]
struct PipeOrigin(RefCell<Option<TriggerId>>);

impl Origin for PipeOrigin {
    fn connected(self: Rc<Self>, transport: &Transport) {
        let connection = transport.downgrade();
        let finish = move |reactor: &Reactor| finish_sending(reactor, &connection);
        let reactor = transport.reactor();
        self.0.replace(Some(reactor.add_system_event_trigger(Phase::Before, "shutdown", finish)));
    }

    fn connection_lost(self: Rc<Self>, reactor: &Reactor, _reason: &Error) {
        if let Some(trigger) = self.0.take() {
            // Removing the trigger fails while it runs.
            let _ = reactor.remove_system_event_trigger(&trigger);
        }
    }

    fn forget(&self) {}

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

/// Closes a connection that has something to send. The Deferred fires when it is closed, or after [`SHUTDOWN_GRACE`].
pub(super) fn finish_sending(reactor: &Reactor, connection: &WeakTransport) -> Deferred<()> {
    let sends = |transport: &Transport| transport.is_disconnecting() || transport.buffered() > 0;
    let Some(transport) = connection.upgrade().filter(|transport| transport.is_connected() && sends(transport)) else {
        return succeed(());
    };
    transport.lose_connection();
    transport.when_lost().add_timeout(SHUTDOWN_GRACE, reactor).add_both(drop)
}
