//! Two descriptors as one connection.
//!
//! Source: `StandardIO` of `twisted.internet.stdio`.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

use ropewalk_sys::OwnedWaitable;

use super::Interface;
use crate::error::Result;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Transport;

impl Reactor {
    /// Makes one connection out of two descriptors: bytes from `input` are received, and written bytes are sent to
    /// `output`.
    ///
    /// The descriptors may be pipes, terminals, sockets or files. Their flags are not changed. `factory` builds a
    /// protocol and is neither started nor stopped. The end of `input` is the end of the received stream. `output` is
    /// closed after everything has been written, and `connection_lost` follows. If a write fails, such as on a full
    /// disk, `connection_lost` gets [`Error::ConnectionLost`](crate::Error::ConnectionLost) with the system's error.
    /// May be called from any callback.
    ///
    /// The transport is one end of a socket pair. Two pumps with buffers of 64 KiB copy between the other end and the
    /// descriptors. So the transport's addresses are unnamed, and a reset of the input looks like a normal end.
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
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the event provider cannot watch descriptors or adopt
    /// sockets, [`Error::Closed`](crate::Error::Closed) if the factory builds no protocol, and
    /// [`Error::Io`](crate::Error::Io) if the system fails.
    pub fn adopt_pipes(
        &self,
        input: impl Into<OwnedWaitable>,
        output: impl Into<OwnedWaitable>,
        factory: &dyn Factory,
    ) -> Result<Transport> {
        self.require(Interface::FdSet)?;
        self.require(Interface::Socket)?;
        system::adopt_pipes(self, input.into(), output.into(), factory)
    }
}
