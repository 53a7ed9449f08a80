//! Giving up the socket of a connection, for a program that continues with the socket alone.

use std::rc::Rc;

use ropewalk_sys::Released;

use super::Transport;
use super::flags::Flags;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::interfaces::Interface;
use crate::kernel::Reactor;

impl Transport {
    /// Gives up the connection's socket, and returns it with the bytes that have not reached their destination. The
    /// peer notices nothing.
    ///
    /// - [`Released::received`] has the bytes that arrived and were not delivered, and those that the protocol gave
    ///   back with
    ///   [`unread`](Transport::unread). They precede the bytes that you read from the socket.
    /// - [`Released::unsent`] has the written bytes that the system has not taken. Send them before other bytes.
    /// - The socket is non-blocking. Its options are as they were.
    ///
    /// Requests that were still pending are forgotten, such as `lose_connection`. From now on this handle is that of an
    /// ended connection. `connection_lost` gets [`Error::Released`] when the running callback has returned or, outside
    /// callbacks, before the loop waits. Before that a registered producer is stopped.
    ///
    /// May be called from any callback.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use ropewalk::{Error, Reactor};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (ours, mut theirs) = UnixStream::pair().unwrap();
    /// let protocol = AccumulatingProtocol::new();
    /// let transport = reactor.adopt_stream_connection(ours, &protocol.factory())?;
    /// let released = transport.release()?;
    /// let mut ours = UnixStream::from(released.socket);
    /// ours.write_all(b"still open").unwrap();
    /// theirs.read_exact(&mut [0; 10]).unwrap();
    /// reactor.prepare()?;
    /// assert!(matches!(protocol.lost(), Some(Error::Released)));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// After an error the connection is as before. [`Error::Closed`] after the end of the connection.
    /// [`Error::Unsupported`] if the provider has no sockets of the system, as the simulated network. [`Error::Io`] if
    /// the connection has a layer, whose bytes only the layer understands, or descriptors that wait. The reason of the loss if the connection is
    /// found to be lost. [`Error::Waiting`] while the provider waits in another thread.
    pub fn release(&self) -> Result<Released> {
        self.0.release()
    }
}

impl Stream {
    fn release(self: &Rc<Stream>) -> Result<Released> {
        let reactor = self.reactor.upgrade().filter(|_| !self.state().is_lost()).map(Reactor).ok_or(Error::Closed)?;
        reactor.require(Interface::Socket)?;
        let cannot = || Error::io("cannot release a connection");
        if self.has(Flags::LAYERED) {
            return Err(cannot()(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it has a layer")));
        }
        if self.has(Flags::DESCRIPTORS) || self.inbound.has_passed() {
            let message = "it has descriptors that were not sent or not delivered";
            return Err(cannot()(std::io::Error::new(std::io::ErrorKind::InvalidInput, message)));
        }
        if let Some(reason) = self.outbound.failure() {
            return Err(reason);
        }
        let mut released = reactor.0.adoption(|adoption| adoption.release(self.key))?.map_err(cannot())?;
        if let Some(unread) = self.inbound.take_unread(&self.flags) {
            released.received.splice(..0, unread);
        }
        while let Some(chunk) = self.outbound.take_chunk() {
            released.unsent.extend_from_slice(&chunk);
        }
        self.end_soon(&reactor.0, Error::Released);
        Ok(released)
    }
}
