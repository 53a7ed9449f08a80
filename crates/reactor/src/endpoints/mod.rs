//! Where to listen and whither to connect, as values: twisted.internet.endpoints.
//!
//! An endpoint knows a place and how to get there; a factory knows what to do there. Programs that take endpoints need
//! not know which kind they are given, and users name them in words:
//!
//! ```
//! use std::rc::Rc;
//! use ropewalk::endpoints::{client_from_string, server_from_string};
//! use ropewalk::prelude::*;
//!
//! # struct Echo;
//! # impl Protocol for Echo {
//! #     fn data_received(&mut self, transport: &Transport, data: &[u8]) { transport.write(data); }
//! # }
//! # struct Greeter;
//! # impl Protocol for Greeter {
//! #     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
//! # }
//! let reactor = Reactor::new()?;
//! let server = server_from_string(&reactor, "tcp:0:interface=127.0.0.1")?;
//! server.listen(&reactor, Rc::new(|| Echo)).add_callback(|port| println!("listening on {}", port.host().unwrap()));
//!
//! let client = client_from_string(&reactor, "tcp:localhost:8000:timeout=5")?;
//! let connected = client.connect(&reactor, Rc::new(|| Greeter));
//! connected.add_callbacks(|transport| transport.write(b"hello"), |failure| println!("{failure}"));
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! | server | client |
//! |---|---|
//! | [`TcpServerEndpoint`]: `tcp:`, `tcp6:` | [`TcpClientEndpoint`]: `tcp:`, `tcp6:` |
//! | [`UnixServerEndpoint`]: `unix:` | [`UnixClientEndpoint`]: `unix:` |
//! | [`AdoptedServerEndpoint`]: `systemd:`, `fd:` | |
//! | [`StdioServerEndpoint`]: `stdio:` | |
//! | [`HaproxyServerEndpoint`]: `haproxy:`, around another | |
//!
//! Every kind and its arguments are in the book's chapter on endpoints. The grammar is that of
//! [`description`](crate::proto::description). [`Endpoints`] is where a kind of one's own gets a name. An endpoint
//! holds no reactor: it is told one when it is used, so that factories and protocols may keep endpoints without keeping
//! their own reactor alive.

mod adopted;
mod connecting;
mod haproxy;
mod registry;
mod stdio;
mod tcp;
mod unix;

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::DescriptionError;

use crate::error::Error;
use crate::kernel::Reactor;
use crate::protocols::{Factory, Protocol};
use crate::transports::{Port, Transport};

pub use adopted::AdoptedServerEndpoint;
pub use haproxy::HaproxyServerEndpoint;
pub use registry::Endpoints;
pub use stdio::StdioServerEndpoint;
pub use tcp::{TcpClientEndpoint, TcpServerEndpoint};
pub use unix::{UnixClientEndpoint, UnixServerEndpoint};

/// A place to listen: IStreamServerEndpoint.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{StreamServerEndpoint, server_from_string};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::{Deferred, Factory, Port, Reactor};
///
/// /// Tells where it listens.
/// struct Announced(Rc<dyn StreamServerEndpoint>);
///
/// impl StreamServerEndpoint for Announced {
///     fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
///         self.0.listen(reactor, factory).and_then(|port| {
///             println!("listening on {}", port.host()?);
///             Ok::<_, ropewalk::Error>(port)
///         })
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let endpoint = Announced(server_from_string(&net, "tcp:80:interface=10.0.0.1")?);
/// let port = endpoint.listen(&net, Rc::new(AccumulatingProtocol::new)).try_result().unwrap().unwrap();
/// assert!(port.is_listening());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait StreamServerEndpoint {
    /// Listens, and has `factory` build a protocol for each connection.
    ///
    /// Never panics: what goes wrong is a failure of the Deferred, an [`Error`] for all kinds that come
    /// with this crate. Those fire before they return; others may take their time, and can be cancelled. May be called
    /// from a callback, and again to listen once more.
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port>;
}

/// A place to connect to: IStreamClientEndpoint.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{StreamClientEndpoint, TcpClientEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = net.listen_stream("10.0.0.1:80").unwrap();
/// let endpoint = TcpClientEndpoint::new("10.0.0.1:80")?;
/// let connected = endpoint.connect(&net, Rc::new(AccumulatingProtocol::new));
/// connected.add_callback(|transport| transport.write(b"hello"));
/// net.settle();
/// assert_eq!(server.accept().unwrap().received(), b"hello");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait StreamClientEndpoint {
    /// Connects, and has `factory` build the protocol. Each call is an attempt of its own.
    ///
    /// The Deferred fires when the protocol's `connection_made` has returned. It fails with [`Error::NoProtocol`] when
    /// the factory builds none, and with the reason when the attempt fails. Cancelling it ends the attempt; then it
    /// fails with [`Error::ConnectingCancelled`]. May be called from a callback. Never panics.
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport>;
}

impl<E: StreamServerEndpoint + ?Sized> StreamServerEndpoint for Rc<E> {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        (**self).listen(reactor, factory)
    }
}

impl<E: StreamClientEndpoint + ?Sized> StreamClientEndpoint for Rc<E> {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        (**self).connect(reactor, factory)
    }
}

/// The server endpoint that `description` names, among the kinds that `reactor` knows: `serverFromString`.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::server_from_string;
///
/// let reactor = Reactor::new()?;
/// assert!(server_from_string(&reactor, "tcp:8000:interface=127.0.0.1:backlog=1024").is_ok());
/// let error = server_from_string(&reactor, "tcp:eighty").err().expect("that is no port");
/// println!("{error}");
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// # Errors
/// When the grammar, the name or an argument is wrong; the message says which, what was expected, and what exists.
/// Nothing is listened on yet, so a port in use is an error of [`listen`](StreamServerEndpoint::listen).
pub fn server_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> {
    reactor.endpoints().server(description)
}

/// The client endpoint that `description` names, among the kinds that `reactor` knows: `clientFromString`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::client_from_string;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// net.add_host("example.org", &["192.0.2.1"]);
/// let endpoint = client_from_string(&net, "tcp:example.org:80:timeout=5")?;
/// let _connecting = endpoint.connect(&net, Rc::new(AccumulatingProtocol::new));
/// net.settle();
/// assert_eq!(net.tcp_clients()[0].address.to_string(), "192.0.2.1:80");
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// # Errors
/// As [`server_from_string`].
pub fn client_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> {
    reactor.endpoints().client(description)
}

/// Connects one protocol, without a factory: `connectProtocol`.
///
/// ```
/// use ropewalk::endpoints::{TcpClientEndpoint, connect_protocol};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = net.listen_stream("10.0.0.1:80")?;
/// let endpoint = TcpClientEndpoint::new("10.0.0.1:80")?;
/// let connected = connect_protocol(&net, &endpoint, AccumulatingProtocol::new());
/// net.settle();
/// let transport = connected.try_result().expect("it is connected").expect("somebody listens there");
/// assert_eq!(transport.peer().to_string(), "10.0.0.1:80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect_protocol(
    reactor: &Reactor,
    endpoint: &(impl StreamClientEndpoint + ?Sized),
    protocol: impl Protocol + 'static,
) -> Deferred<Transport> {
    endpoint.connect(reactor, Rc::new(connecting::OneProtocol::new(Box::new(protocol))))
}

impl Reactor {
    /// The kinds of endpoints that descriptions may name on this reactor. What is registered there stays as long as the
    /// reactor.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let names = reactor.endpoints().server_names();
    /// assert!(names.contains(&"tcp".to_owned()) && names.contains(&"unix".to_owned()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn endpoints(&self) -> Endpoints {
        (*self.extension(|_| Endpoints::new())).clone()
    }
}

impl From<DescriptionError> for Error {
    fn from(error: DescriptionError) -> Error {
        Error::InvalidDescription(error.into())
    }
}
