//! TCP endpoints.
//!
//! Source: `TCP4ServerEndpoint`, `TCP6ServerEndpoint`, `HostnameEndpoint` and `TCP6ClientEndpoint` of
//! `twisted.internet.endpoints`.

use std::net::SocketAddr;
use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::{Tcp6Client, Tcp6Server, TcpClient, TcpServer};

use super::connecting::connecting;
use super::{StreamClientEndpoint, StreamServerEndpoint};
use crate::error::{Error, Result};
use crate::interfaces::tcp::{Binding, Destination};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Port, Transport};

/// An endpoint that listens over TCP: `tcp:` and `tcp6:`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{StreamServerEndpoint, TcpServerEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let endpoint = TcpServerEndpoint::new("10.0.0.1:80")?;
/// let port = endpoint.listen(&net, Rc::new(AccumulatingProtocol::new)).try_result().unwrap().unwrap();
/// assert_eq!(port.host()?.to_string(), "10.0.0.1:80");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TcpServerEndpoint(Binding);

impl TcpServerEndpoint {
    /// Creates an endpoint for `binding`, of any type that [`Reactor::listen_tcp`] accepts.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if `binding` is a string that is not an address.
    pub fn new<B>(binding: B) -> Result<TcpServerEndpoint>
    where
        B: TryInto<Binding>,
        Error: From<B::Error>,
    {
        Ok(TcpServerEndpoint(binding.try_into()?))
    }

    /// Creates an endpoint for `port` of every interface, over IPv6 and IPv4: [`Binding::everywhere`].
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::endpoints::{StreamServerEndpoint, TcpServerEndpoint};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = TcpServerEndpoint::everywhere(80).listen(&net, Rc::new(AccumulatingProtocol::new));
    /// assert!(port.try_result().unwrap().unwrap().is_listening());
    /// assert!(net.tcp_servers()[0].address.inet().unwrap().ip().is_unspecified());
    /// ```
    pub fn everywhere(port: u16) -> TcpServerEndpoint {
        TcpServerEndpoint::from(&TcpServer::new(port))
    }
}

impl From<&TcpServer> for TcpServerEndpoint {
    fn from(tcp: &TcpServer) -> TcpServerEndpoint {
        let binding = match tcp.interface {
            Some(interface) => Binding::from((interface, tcp.port)),
            None => Binding::everywhere(tcp.port),
        };
        TcpServerEndpoint(shared(binding.backlog(tcp.backlog), tcp.reuse_port))
    }
}

impl From<&Tcp6Server> for TcpServerEndpoint {
    fn from(tcp: &Tcp6Server) -> TcpServerEndpoint {
        let binding = Binding::from((tcp.interface.into(), tcp.port)).backlog(tcp.backlog).v6_only();
        TcpServerEndpoint(shared(binding, tcp.reuse_port))
    }
}

fn shared(binding: Binding, reuse_port: bool) -> Binding {
    if reuse_port { binding.reuse_port() } else { binding }
}

impl StreamServerEndpoint for TcpServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        reactor.listen_tcp(self.0.clone(), factory).map_err(Into::into).into()
    }
}

/// An endpoint that connects over TCP to a name or an address: `tcp:` and `tcp6:`.
///
/// Tries the addresses of both families like [`Reactor::connect_tcp`], according to RFC 8305. With
/// [`Destination::v6_only`] only IPv6 addresses are tried.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::Destination;
/// use ropewalk::endpoints::{StreamClientEndpoint, TcpClientEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let _server = net.listen_stream("10.0.0.1:80").unwrap();
/// let destination = Destination::new("10.0.0.1", 80).timeout(Duration::from_secs(5));
/// let connected = TcpClientEndpoint::new(destination)?.connect(&net, Rc::new(AccumulatingProtocol::new));
/// net.settle();
/// assert_eq!(connected.try_result().unwrap().unwrap().peer().to_string(), "10.0.0.1:80");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TcpClientEndpoint(Destination);

impl TcpClientEndpoint {
    /// Creates an endpoint for `destination`, of any type that [`Reactor::connect_tcp`] accepts.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if `destination` is a string that is not a host and a port.
    pub fn new<D>(destination: D) -> Result<TcpClientEndpoint>
    where
        D: TryInto<Destination>,
        Error: From<D::Error>,
    {
        Ok(TcpClientEndpoint(destination.try_into()?))
    }
}

impl From<&TcpClient> for TcpClientEndpoint {
    fn from(tcp: &TcpClient) -> TcpClientEndpoint {
        let destination = Destination::new(&tcp.host, tcp.port).timeout(tcp.timeout);
        TcpClientEndpoint(match tcp.bind_address {
            Some(address) => destination.bind(SocketAddr::new(address, 0)),
            None => destination,
        })
    }
}

impl From<&Tcp6Client> for TcpClientEndpoint {
    fn from(tcp: &Tcp6Client) -> TcpClientEndpoint {
        let destination = Destination::new(&tcp.host, tcp.port).timeout(tcp.timeout).v6_only();
        TcpClientEndpoint(match tcp.bind_address {
            Some(address) => destination.bind(SocketAddr::new(address.into(), 0)),
            None => destination,
        })
    }
}

impl StreamClientEndpoint for TcpClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        connecting(factory, |factory| reactor.connect_tcp(self.0.clone(), factory))
    }
}
