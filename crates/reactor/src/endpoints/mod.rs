//! Endpoints: values that say where to listen or connect.
//!
//! An endpoint knows the address and how to reach it. A factory builds the protocols. A program that takes endpoints
//! works with every endpoint type, and its users can choose an endpoint with a string:
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
//! let port = server.listen(&reactor, Rc::new(|| Echo)).try_result().expect("TCP listens at once")?;
//! println!("listening on {}", port.host()?);
//!
//! let client = client_from_string(&reactor, "tcp:localhost:8000:timeout=5")?;
//! let connected = client.connect(&reactor, Rc::new(|| Greeter));
//! connected.add_callbacks(|transport| transport.write(b"hello"), |failure| eprintln!("{failure}"));
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! | server | client |
//! |---|---|
//! | [`TcpServerEndpoint`]: `tcp:`, `tcp6:` | [`TcpClientEndpoint`]: `tcp:`, `tcp6:` |
//! | [`UnixServerEndpoint`]: `unix:` | [`UnixClientEndpoint`]: `unix:` |
//! | [`AdoptedServerEndpoint`]: `systemd:`, `fd:` | |
//! | [`SerialPortEndpoint`]: `serial:` | [`SerialPortEndpoint`]: `serial:` |
//! | [`StdioServerEndpoint`]: `stdio:` | |
//! | | [`ProcessClientEndpoint`]: `process:` |
//! | [`HaproxyServerEndpoint`]: `haproxy:` before another description | |
//!
//! Datagram ports have endpoints of their own, the implementations of [`DatagramEndpoint`]:
//!
//! | server | client |
//! |---|---|
//! | [`UdpServerEndpoint`]: `udp:` | [`UdpClientEndpoint`]: `udp:` |
//! | [`UnixDatagramServerEndpoint`]: `unix-datagram:` | [`UnixDatagramClientEndpoint`]: `unix-datagram:` |
//!
//! The book's chapter on endpoints lists all types and their arguments. The grammar is in
//! [`description`](crate::proto::description). [`Endpoints`] registers custom types.
//!
//! An endpoint holds no reactor: each call gets the reactor as an argument. So factories and protocols can hold
//! endpoints without keeping their own reactor alive.

mod adopted;
mod connecting;
mod datagrams;
mod haproxy;
mod process;
mod registry;
mod serial;
mod stdio;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg_attr(not(feature = "tls"), path = "without_tls.rs")]
mod tls_files;
mod udp;
mod unix;
mod unix_datagram;

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::DescriptionError;

use crate::error::Error;
use crate::kernel::Reactor;
use crate::protocols::{Factory, Protocol};
use crate::transports::{Port, Transport};

pub use adopted::AdoptedServerEndpoint;
pub use datagrams::{DatagramEndpoint, datagram_client_from_string, datagram_server_from_string};
pub use haproxy::HaproxyServerEndpoint;
pub use process::ProcessClientEndpoint;
pub use registry::Endpoints;
pub use serial::SerialPortEndpoint;
pub use stdio::StdioServerEndpoint;
pub use tcp::{TcpClientEndpoint, TcpServerEndpoint};
#[cfg(feature = "tls")]
pub use tls::{TlsClientEndpoint, TlsServerEndpoint};
pub use udp::{UdpClientEndpoint, UdpServerEndpoint};
pub use unix::{UnixClientEndpoint, UnixServerEndpoint};
pub use unix_datagram::{UnixDatagramClientEndpoint, UnixDatagramServerEndpoint};

/// An endpoint to listen on.
///
/// Source: `IStreamServerEndpoint` of `twisted.internet.interfaces`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{StreamServerEndpoint, server_from_string};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::{Deferred, Factory, Port, Reactor};
///
/// /// Prints its address when it listens.
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
    /// Starts to listen. `factory` builds a protocol for each connection.
    ///
    /// The Deferred fires with the port, or fails if listening fails. The Deferred of a built-in type fires before this
    /// method returns, and its failure is an [`Error`]. The Deferred of another type may fire later, and can be
    /// cancelled. May be called from any callback. Each call listens again. Never panics.
    #[must_use = "listening may fail: handle the failure"]
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port>;
}

/// An endpoint to connect to.
///
/// Source: `IStreamClientEndpoint` of `twisted.internet.interfaces`.
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
/// connected.add_callbacks(|transport| transport.write(b"hello"), |failure| eprintln!("{failure}"));
/// net.settle();
/// assert_eq!(server.accept().unwrap().received(), b"hello");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait StreamClientEndpoint {
    /// Starts a connection attempt. `factory` builds the protocol.
    ///
    /// The Deferred fires after the protocol's `connection_made` has returned. The Deferred fails with
    /// [`Error::NoProtocol`] if the factory builds none, and with the reason if the attempt fails. Cancelling the
    /// Deferred stops the attempt, and the Deferred fails with [`Error::ConnectingCancelled`]. May be called from any
    /// callback. Each call starts another attempt. Never panics.
    #[must_use = "connecting may fail: handle the failure"]
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

/// Parses `description` into a server endpoint, of a type registered with `reactor`.
///
/// May be called from any callback.
///
/// Source: `serverFromString` of `twisted.internet.endpoints`.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::server_from_string;
///
/// let reactor = Reactor::new()?;
/// assert!(server_from_string(&reactor, "tcp:8000:interface=127.0.0.1:backlog=64").is_ok());
/// let error = server_from_string(&reactor, "tcp:eighty").err().expect("the port is invalid");
/// println!("{error}");
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// # Errors
/// If the grammar, the name or an argument is wrong. The message names the fault and what was expected. The endpoint
/// does not listen yet, so a port in use is an error of [`listen`](StreamServerEndpoint::listen).
pub fn server_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> {
    reactor.endpoints().server(description)
}

/// Parses `description` into a client endpoint, of a type registered with `reactor`.
///
/// May be called from any callback.
///
/// Source: `clientFromString` of `twisted.internet.endpoints`.
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
/// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
pub fn client_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> {
    reactor.endpoints().client(description)
}

/// Connects `protocol` to `endpoint` without a factory.
///
/// Returns the Deferred of [`StreamClientEndpoint::connect`]. May be called from any callback.
///
/// Source: `connectProtocol` of `twisted.internet.endpoints`.
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
/// let transport = connected.try_result().expect("the attempt is over").expect("the server listens");
/// assert_eq!(transport.peer().to_string(), "10.0.0.1:80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "connecting may fail: handle the failure"]
pub fn connect_protocol(
    reactor: &Reactor,
    endpoint: &(impl StreamClientEndpoint + ?Sized),
    protocol: impl Protocol + 'static,
) -> Deferred<Transport> {
    endpoint.connect(reactor, Rc::new(connecting::OneProtocol::new(Box::new(protocol))))
}

impl From<DescriptionError> for Error {
    fn from(error: DescriptionError) -> Error {
        Error::InvalidDescription(error.into())
    }
}
