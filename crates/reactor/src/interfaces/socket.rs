//! IReactorSocket: sockets that another program, such as a service manager, has opened.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{Kind, OwnedSocket, Sockets};

use super::Interface;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Reactor};
use crate::protocols::{ClientFactory, Factory};
use crate::transports::{Connector, Keys, Origin, Port, Prepared, Settings, Stream, Target, Transport};

impl Reactor {
    /// Accepts connections on a socket that is already listening.
    ///
    /// The reactor takes ownership of the socket and makes it non-blocking. Clone the socket first to keep it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::net::TcpListener;
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let socket = TcpListener::bind("127.0.0.1:0").unwrap(); // as a service manager would
    /// let expected = socket.local_addr().unwrap();
    /// let port = reactor.adopt_stream_port(socket, AccumulatingProtocol::new().factory())?;
    /// assert_eq!(port.host()?.inet(), Some(expected));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the socket is not a listening stream socket. [`Error::UnsupportedAddressFamily`] when it is
    /// neither a TCP nor a UNIX socket. [`Error::Unsupported`] when the provider cannot adopt sockets.
    pub fn adopt_stream_port(&self, socket: impl Into<OwnedSocket>, factory: impl Factory + 'static) -> Result<Port> {
        self.require(Interface::Socket)?;
        let cannot = Error::adopt("cannot adopt a listening socket");
        let (key, host) =
            self.adopt(socket.into(), Kind::StreamPort, |sockets, key| sockets.local_address(key))?.map_err(cannot)?;
        Port::adopted(self, key, host, Rc::new(factory))
    }

    /// Takes over a connected socket. `factory` builds the protocol, from the peer's address.
    ///
    /// The factory is neither started nor stopped. The reactor takes ownership of the socket and makes it non-blocking.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (ours, theirs) = UnixStream::pair().unwrap();
    /// let protocol = AccumulatingProtocol::new();
    /// let transport = reactor.adopt_stream_connection(ours, &protocol.factory())?;
    /// drop(theirs); // ends the connection
    /// while transport.is_connected() {
    ///     reactor.iterate(Some(Duration::from_secs(1)))?;
    /// }
    /// assert!(protocol.lost().is_some_and(|reason| reason.is_done()));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the socket is not a connected stream socket. [`Error::UnsupportedAddressFamily`] when it is
    /// neither a TCP nor a UNIX socket. [`Error::Closed`] when the factory builds no protocol, and [`Error::Panicked`]
    /// when the factory panics: the connection is then closed. [`Error::Unsupported`] when the provider cannot adopt
    /// sockets.
    pub fn adopt_stream_connection(&self, socket: impl Into<OwnedSocket>, factory: &dyn Factory) -> Result<Transport> {
        self.require(Interface::Socket)?;
        let cannot = Error::adopt("cannot adopt a connection");
        let (key, peer) = self
            .adopt(socket.into(), Kind::StreamConnection, |sockets, key| sockets.peer_address(key))?
            .map_err(cannot)?;
        self.begin_adopted(Keys::Socket(key), peer, factory, None)
    }

    /// Begins a connection that was adopted. Closes it if `factory` builds no protocol.
    pub(super) fn begin_adopted(
        &self,
        keys: Keys,
        peer: Address,
        factory: &dyn Factory,
        origin: Option<Rc<dyn Origin>>,
    ) -> Result<Transport> {
        let build = || factory.build_protocol(&peer).map(|protocol| (protocol, Settings::paced(factory.is_paced())));
        match self.0.guard(CallbackKind::Factory, "build_protocol", build) {
            Ok(Some((protocol, settings))) => Ok(Stream::begin(self, keys, peer, protocol, origin, settings)),
            refused => {
                keys.each(|key| self.0.close_stream(key));
                Err(refused.err().unwrap_or(Error::Closed))
            }
        }
    }

    /// Connects a stream socket that the program has prepared to `address`. `factory` builds a protocol for the
    /// connection.
    ///
    /// The socket may be bound, and may have any options, such as a mark or a buffer size. The reactor takes ownership
    /// of it and makes it non-blocking. The attempt begins in a later turn, as that of
    /// [`connect_tcp`](Reactor::connect_tcp), and takes at most `timeout`. `None` leaves the limit to the system.
    ///
    /// The connector cannot connect again, because a socket connects only once. A failed attempt closes the socket, so
    /// clone it first to keep it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::net::{SocketAddr, TcpListener};
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::AccumulatingProtocol;
    /// # use rustix::net::{AddressFamily, SocketType, socket};
    ///
    /// let reactor = Reactor::new()?;
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let server: SocketAddr = listener.local_addr().unwrap();
    /// // Set options here, with a crate such as `rustix` or `socket2`.
    /// let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    /// let client = AccumulatingProtocol::new();
    /// reactor.connect_socket(socket, server, Duration::from_secs(30), client.factory())?;
    /// while client.transport().is_none() {
    ///     reactor.iterate(Some(Duration::from_secs(1)))?;
    /// }
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the provider has no sockets of the system: the socket is then closed. Later failures
    /// are reported to the factory, such as [`Error::Connect`] for a socket of another kind or family.
    pub fn connect_socket(
        &self,
        socket: impl Into<OwnedSocket>,
        address: impl Into<Address>,
        timeout: impl Into<Option<Duration>>,
        factory: impl ClientFactory + 'static,
    ) -> Result<Connector> {
        self.require(Interface::Socket)?;
        let target = Target::Prepared(address.into(), Prepared::new(socket.into()));
        Connector::begin(self, target, None, timeout.into(), Rc::new(factory))
    }

    /// Adopts a socket, and returns its key with the address that `ask` returns.
    fn adopt(
        &self,
        socket: OwnedSocket,
        kind: Kind,
        ask: fn(&mut dyn Sockets, Key) -> io::Result<Address>,
    ) -> Result<io::Result<(Key, Address)>> {
        let key = match self.0.adoption(|adoption| adoption.adopt(socket, kind))? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let asked = self.0.sockets(|sockets| ask(sockets, key)).map(|address| address.map(|address| (key, address)));
        if !matches!(asked, Ok(Ok(_))) {
            self.0.close_stream(key);
        }
        asked
    }
}
