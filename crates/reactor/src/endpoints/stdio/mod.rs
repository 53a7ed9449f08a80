//! Standard input and output as one connection.
//!
//! Source: `StandardIOEndpoint` of `twisted.internet.endpoints` and `StandardIO` of `twisted.internet.stdio`.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_sys::{OwnedWaitable, take_standard_streams};

use super::StreamServerEndpoint;
use crate::error::{Error, Result};
use crate::interfaces::Interface;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Port, Transport};

/// An endpoint for standard input and output, as one connection: `stdio:`.
///
/// Listening takes both streams from the process and makes the connection at once. Later output of the process to
/// standard output is discarded, and listening again fails. The factory builds one protocol and is neither started nor
/// stopped. The port accepts no other connections. [`Port::only_connection`] returns the connection, which stays open
/// when the port stops.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::{StdioServerEndpoint, server_from_string};
///
/// let reactor = Reactor::new()?;
/// let described = server_from_string(&reactor, "stdio:")?; // takes the streams only when it listens
/// let _endpoint = StdioServerEndpoint; // the same endpoint
/// # let _ = described;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StdioServerEndpoint;

impl StreamServerEndpoint for StdioServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let connected = || -> Result<Port> {
            require(reactor)?;
            let [input, output] =
                take_standard_streams().map_err(Error::io("cannot take standard input and output"))?;
            let connection = reactor.adopt_pipes(input, output, &*factory)?;
            Ok(Port::of_one_connection(reactor, connection, factory.clone()))
        };
        connected().map_err(Into::into).into()
    }
}

impl Reactor {
    /// Makes one connection out of two descriptors: bytes from `input` are received, and written bytes are sent to
    /// `output`.
    ///
    /// The descriptors may be pipes, terminals, sockets or files. Their flags are not changed. `factory` builds a
    /// protocol and is neither started nor stopped. The end of `input` is the end of the received stream. `output` is
    /// closed after everything has been written. May be called from any callback.
    ///
    /// The transport is one end of a socket pair. Two pumps with buffers of 64 KiB copy between the other end and the
    /// descriptors. So the transport's addresses are unnamed, and a reset looks like a normal end.
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
    /// [`Error::Unsupported`] if the event provider cannot watch descriptors or adopt sockets, [`Error::Closed`] if the
    /// factory builds no protocol, and [`Error::Io`] if the system fails.
    pub fn adopt_pipes(
        &self,
        input: impl Into<OwnedWaitable>,
        output: impl Into<OwnedWaitable>,
        factory: &dyn Factory,
    ) -> Result<Transport> {
        require(self)?;
        system::adopt_pipes(self, input.into(), output.into(), factory)
    }
}

fn require(reactor: &Reactor) -> Result<()> {
    reactor.require(Interface::FdSet)?;
    reactor.require(Interface::Socket)
}
