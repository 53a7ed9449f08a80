//! UDP endpoints.

use std::net::SocketAddr;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::{UdpClient, UdpServer, ZonedIp};

use super::DatagramEndpoint;
use super::tcp::socket_address;
use crate::error::{Error, Result};
use crate::interfaces::udp::UdpBinding;
use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::DatagramPort;

/// An endpoint that receives over UDP: `udp:`.
///
/// ```
/// use ropewalk::DatagramProtocol;
/// use ropewalk::endpoints::{DatagramEndpoint, UdpServerEndpoint};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let net = MemoryReactor::new();
/// let endpoint = UdpServerEndpoint::new("10.0.0.1:53")?;
/// let port = endpoint.open(&net, Box::new(Silent)).try_result().unwrap().unwrap();
/// assert_eq!(port.host().to_string(), "10.0.0.1:53");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpServerEndpoint(Place);

/// The place to receive at. The zone of an address is looked up when the port opens, because network interfaces come and
/// go.
#[derive(Clone, Debug)]
enum Place {
    Binding(UdpBinding),
    Described(UdpServer),
}

impl UdpServerEndpoint {
    /// Creates an endpoint for `binding`, of any type that [`Reactor::listen_udp`] accepts.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if `binding` is a string that is not an address.
    pub fn new<B>(binding: B) -> Result<UdpServerEndpoint>
    where
        B: TryInto<UdpBinding>,
        Error: From<B::Error>,
    {
        Ok(UdpServerEndpoint(Place::Binding(binding.try_into()?)))
    }
}

impl From<&UdpServer> for UdpServerEndpoint {
    fn from(udp: &UdpServer) -> UdpServerEndpoint {
        UdpServerEndpoint(Place::Described(udp.clone()))
    }
}

impl Place {
    fn binding(&self) -> Result<UdpBinding> {
        let udp = match self {
            Place::Binding(binding) => return Ok(binding.clone()),
            Place::Described(udp) => udp,
        };
        let binding = match &udp.interface {
            Some(interface) if !interface.ip.is_unspecified() => UdpBinding::new(socket_address(interface, udp.port)?),
            // The answer to a datagram must leave from the address that was asked.
            Some(interface) => UdpBinding::new(socket_address(interface, udp.port)?).details_where_available(),
            None => UdpBinding::everywhere(udp.port).details_where_available(),
        };
        let binding = binding.max_packet_size(bytes(udp.max_packet_size));
        Ok(if udp.reuse_port { binding.shared() } else { binding })
    }
}

/// Returns a length of at most 65,536 bytes.
pub(super) fn bytes(max_packet_size: u32) -> usize {
    max_packet_size.try_into().unwrap_or(usize::MAX)
}

impl DatagramEndpoint for UdpServerEndpoint {
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
        let port = self.0.binding().and_then(|binding| reactor.listen_udp(binding, protocol));
        port.map_err(Into::into).into()
    }
}

/// An endpoint that sends over UDP to a name or an address, and receives only from there: `udp:`.
///
/// Each port resolves the name again. The addresses are tried in their order, and the first one for which the system has
/// a route becomes the peer. UDP cannot tell whether a program receives there, so an address is better than a name that
/// has several addresses, such as `localhost`.
///
/// ```
/// use ropewalk::DatagramProtocol;
/// use ropewalk::endpoints::{DatagramEndpoint, UdpClientEndpoint};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let net = MemoryReactor::new();
/// let server = net.open_datagrams("10.0.0.1:53").unwrap();
/// let opened = UdpClientEndpoint::new("10.0.0.1", 53).max_packet_size(1500).open(&net, Box::new(Silent));
/// let port = opened.try_result().unwrap().unwrap();
/// port.write(b"hello")?;
/// net.settle();
/// assert_eq!(server.receive().unwrap().0, b"hello");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpClientEndpoint {
    host: String,
    port: u16,
    /// The local address, whose zone is looked up for each port.
    bind: Option<ZonedIp>,
    max_packet_size: Option<usize>,
}

impl UdpClientEndpoint {
    /// Creates an endpoint for `port` of `host`, a name or an IP address.
    pub fn new(host: impl Into<String>, port: u16) -> UdpClientEndpoint {
        UdpClientEndpoint { host: host.into(), port, bind: None, max_packet_size: None }
    }

    /// Sets the length of the longest datagram that is received: [`UdpBinding::max_packet_size`].
    #[must_use]
    pub fn max_packet_size(mut self, bytes: usize) -> UdpClientEndpoint {
        self.max_packet_size = Some(bytes);
        self
    }

    /// Returns a binding for each of `peers` that the local address can reach, for
    /// [`listen_udp_first`](Reactor::listen_udp_first).
    ///
    /// [`open`](DatagramEndpoint::open) looks the name up for each port. A program that opens many ports looks the name
    /// up by itself, and keeps the addresses for a while. May be called from any callback.
    ///
    /// ```
    /// use ropewalk::DatagramProtocol;
    /// use ropewalk::endpoints::UdpClientEndpoint;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let net = MemoryReactor::new();
    /// let endpoint = UdpClientEndpoint::new("ns.example", 53);
    /// let known = vec!["10.0.0.1:53".parse().unwrap()]; // of an earlier look-up
    /// let port = net.listen_udp_first(&endpoint.bindings(known)?, Silent)?;
    /// assert_eq!(port.peer().unwrap().to_string(), "10.0.0.1:53");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DnsLookup`] if none of `peers` has the family of the local address. An error if the local address has a
    /// zone that does not exist.
    pub fn bindings(&self, peers: Vec<SocketAddr>) -> Result<Vec<UdpBinding>> {
        let local = self.bind.as_ref().map(|local| socket_address(local, 0)).transpose()?;
        let is_reachable = |peer: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == peer.is_ipv4());
        let bindings = peers.into_iter().filter(is_reachable).map(|peer| {
            let to_any = || UdpBinding::towards(peer, 0);
            let binding = local.map_or_else(to_any, |local| UdpBinding::new(local).connect(peer));
            match self.max_packet_size {
                Some(bytes) => binding.max_packet_size(bytes),
                None => binding,
            }
        });
        let bindings = Vec::from_iter(bindings);
        match bindings.is_empty() {
            true => Err(Error::DnsLookup(self.host.as_str().into(), "no address of the right family".into())),
            false => Ok(bindings),
        }
    }
}

impl From<&UdpClient> for UdpClientEndpoint {
    fn from(udp: &UdpClient) -> UdpClientEndpoint {
        let endpoint = UdpClientEndpoint::new(&udp.host, udp.port).max_packet_size(bytes(udp.max_packet_size));
        UdpClientEndpoint { bind: udp.bind_address.clone(), ..endpoint }
    }
}

impl DatagramEndpoint for UdpClientEndpoint {
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
        // The reactor keeps the callback, which must not keep the reactor.
        let (endpoint, weak) = (self.clone(), reactor.downgrade());
        reactor.resolve_host_name(&self.host, self.port).and_then(move |peers| {
            let reactor = weak.upgrade().ok_or(Error::Closed)?;
            reactor.listen_udp_first(&endpoint.bindings(peers)?, protocol)
        })
    }
}
