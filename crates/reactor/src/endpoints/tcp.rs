//! TCP endpoints.
//!
//! Source: `TCP4ServerEndpoint`, `TCP6ServerEndpoint`, `HostnameEndpoint` and `TCP6ClientEndpoint` of
//! `twisted.internet.endpoints`.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::{Tcp6Client, Tcp6Server, TcpClient, TcpServer, ZonedIp};
use ropewalk_sys::zone_number;

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
pub struct TcpServerEndpoint(Place);

/// The place to listen at. The zone of an address is looked up when the endpoint listens, because network interfaces come
/// and go.
#[derive(Clone, Debug)]
enum Place {
    Binding(Binding),
    Tcp(TcpServer),
    Tcp6(Tcp6Server),
}

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
        Ok(TcpServerEndpoint(Place::Binding(binding.try_into()?)))
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
        TcpServerEndpoint(Place::Binding(Binding::everywhere(port)))
    }
}

impl From<&TcpServer> for TcpServerEndpoint {
    fn from(tcp: &TcpServer) -> TcpServerEndpoint {
        TcpServerEndpoint(Place::Tcp(tcp.clone()))
    }
}

impl From<&Tcp6Server> for TcpServerEndpoint {
    fn from(tcp: &Tcp6Server) -> TcpServerEndpoint {
        TcpServerEndpoint(Place::Tcp6(tcp.clone()))
    }
}

impl Place {
    fn binding(&self) -> Result<Binding> {
        match self {
            Place::Binding(binding) => Ok(binding.clone()),
            Place::Tcp(tcp) => {
                let binding = match &tcp.interface {
                    Some(interface) => Binding::new(socket_address(interface, tcp.port)?),
                    None => Binding::everywhere(tcp.port),
                };
                Ok(shared(binding.backlog(tcp.backlog), tcp.reuse_port))
            }
            Place::Tcp6(tcp) => {
                let binding = Binding::new(socket_address(&tcp.interface, tcp.port)?);
                Ok(shared(binding.backlog(tcp.backlog).v6_only(), tcp.reuse_port))
            }
        }
    }
}

/// # Errors
/// [`Error::InvalidAddress`] if no network interface has the name of the zone.
pub(super) fn socket_address<A>(address: &ZonedIp<A>, port: u16) -> Result<SocketAddr>
where
    A: Copy + Into<IpAddr> + std::fmt::Display,
{
    match (address.ip.into(), &address.zone) {
        (IpAddr::V6(ip), Some(zone)) => {
            let expected = "the zone to be a network interface of this machine";
            let unknown = || Error::InvalidAddress(address.to_string().into(), expected.into());
            Ok(SocketAddrV6::new(ip, port, 0, zone_number(zone).ok_or_else(unknown)?).into())
        }
        (ip, _) => Ok(SocketAddr::new(ip, port)),
    }
}

fn shared(binding: Binding, reuse_port: bool) -> Binding {
    if reuse_port { binding.reuse_port() } else { binding }
}

impl StreamServerEndpoint for TcpServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let port = self.0.binding().and_then(|binding| reactor.listen_tcp(binding, factory));
        port.map_err(Into::into).into()
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
pub struct TcpClientEndpoint {
    destination: Destination,
    /// The local address, whose zone is looked up for each attempt.
    bind: Option<ZonedIp>,
}

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
        Ok(TcpClientEndpoint { destination: destination.try_into()?, bind: None })
    }
}

impl From<&TcpClient> for TcpClientEndpoint {
    fn from(tcp: &TcpClient) -> TcpClientEndpoint {
        let destination = Destination::new(&tcp.host, tcp.port).timeout(tcp.timeout);
        TcpClientEndpoint { destination, bind: tcp.bind_address.clone() }
    }
}

impl From<&Tcp6Client> for TcpClientEndpoint {
    fn from(tcp: &Tcp6Client) -> TcpClientEndpoint {
        let destination = Destination::new(&tcp.host, tcp.port).timeout(tcp.timeout).v6_only();
        TcpClientEndpoint { destination, bind: tcp.bind_address.clone().map(ZonedIp::into_ip) }
    }
}

impl TcpClientEndpoint {
    fn destination(&self) -> Result<Destination> {
        let destination = self.destination.clone();
        match &self.bind {
            Some(local) => Ok(destination.bind(socket_address(local, 0)?)),
            None => Ok(destination),
        }
    }
}

impl StreamClientEndpoint for TcpClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        connecting(factory, |factory| reactor.connect_tcp(self.destination()?, factory))
    }
}
