//! Standard input and output as one connection: StandardIOEndpoint and StandardIO.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_sys::{OwnedIo, take_standard_streams};

use super::StreamServerEndpoint;
use crate::error::{Error, Result};
use crate::interfaces::Interface;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Port, Transport};

/// "Listens" on standard input and output, which are one connection, there at once: `stdio:`.
///
/// They are taken from the process: what it prints on standard output from then on goes nowhere, and a second endpoint
/// fails. The factory is asked for one protocol and neither started nor stopped. The port accepts nothing more, and
/// stopping it leaves the connection, which [`Port::only_connection`] gives to who wants to end with it.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::{StdioServerEndpoint, server_from_string};
///
/// let reactor = Reactor::new()?;
/// let in_words = server_from_string(&reactor, "stdio:")?; // the same; nothing is taken before it listens
/// let _in_rust = StdioServerEndpoint;
/// # let _ = in_words;
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
    /// Makes a connection of two descriptors: what comes from `input` arrives, what is written goes to `output`. Pipes,
    /// terminals, sockets and files will do; the flags of neither are changed. `factory` is asked for a protocol, and
    /// neither started nor stopped.
    ///
    /// The end of `input` is the end of what the other side sends; `output` is closed when everything is written. The
    /// transport is a socket that two pumps of 64 KiB connect with the descriptors: its addresses have no names, and a
    /// reset is an end.
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
    /// let (mut keyboard, input) = UnixStream::pair().unwrap(); // pipes and terminals will do, too
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
    /// [`Error::Unsupported`] where descriptors cannot be watched or sockets not adopted; [`Error::Io`];
    /// [`Error::Closed`] when the factory builds no protocol.
    pub fn adopt_pipes(
        &self,
        input: impl Into<OwnedIo>,
        output: impl Into<OwnedIo>,
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
