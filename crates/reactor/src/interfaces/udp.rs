//! IReactorUDP: datagrams over IPv4 and IPv6.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ropewalk_proto::Address;
use ropewalk_sys::{DEFAULT_PACKET_SIZE, DatagramSpec, OwnedSocket, is_family_missing};

use super::Interface;
use super::tcp::Binding;
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::{DatagramPort, Opened};

/// Options of every kind of datagram port.
///
/// ```
/// use ropewalk::DatagramOptions;
///
/// let plain = DatagramOptions::default(); // datagrams of up to 8192 bytes
/// let options = plain.max_packet_size(1500).details().receive_buffer(4 << 20).send_buffer(4 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct DatagramOptions {
    most: usize,
    has_details: bool,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
}

impl Default for DatagramOptions {
    /// Returns options for datagrams of up to 8192 bytes without details, in buffers of the system's size.
    fn default() -> DatagramOptions {
        DatagramOptions { most: DEFAULT_PACKET_SIZE, has_details: false, receive_buffer: None, send_buffer: None }
    }
}

impl DatagramOptions {
    /// Sets the length of the longest datagram: `maxPacketSize`. Longer ones are dropped and counted:
    /// [`DatagramCounters::cut`](crate::transports::DatagramCounters::cut). From 1 to 65,536.
    ///
    /// The reactor receives into a buffer of 128 KiB. With up to 8192 bytes it receives 16 datagrams with one call.
    #[must_use]
    pub fn max_packet_size(mut self, bytes: usize) -> DatagramOptions {
        self.most = bytes;
        self
    }

    /// Makes the fields of each [`Datagram`](crate::Datagram) known beside its content and its sender: its destination,
    /// its interface and its ECN mark. A datagram then costs up to a sixth more. Linux only.
    #[must_use]
    pub fn details(mut self) -> DatagramOptions {
        self.has_details = true;
        self
    }

    /// Sets the number of bytes that the system keeps until they are received. The system may limit the number.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> DatagramOptions {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sets the number of bytes that the system keeps until they are sent. The system may limit the number.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> DatagramOptions {
        self.send_buffer = Some(bytes);
        self
    }

    /// Returns the specification of a socket at `address`.
    pub(super) fn spec(&self, address: Address) -> DatagramSpec {
        DatagramSpec {
            most: self.most,
            details: self.has_details,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            ..DatagramSpec::new(address)
        }
    }
}

/// The address that [`Reactor::listen_udp`] receives on, with options.
///
/// Converts from `"127.0.0.1:53"`, `"[::1]:53"`, `":53"` ([everywhere](UdpBinding::everywhere)), a [`SocketAddr`], or an
/// address and a port, such as `("127.0.0.1", 53)`.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::{DatagramProtocol, Reactor, UdpBinding};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let reactor = Reactor::new()?;
/// let binding = UdpBinding::new("127.0.0.1:0".parse().unwrap()).max_packet_size(1500).shared();
/// let server = reactor.listen_udp(binding.receive_buffer(1 << 20).send_buffer(1 << 20), Silent)?;
/// let client = UdpBinding::everywhere(0).connect(server.host().inet().unwrap()); // over IPv6 or IPv4
/// reactor.listen_udp(client, Silent)?;
/// let only_v6 = reactor.listen_udp(UdpBinding::everywhere(0).v6_only(), Silent);
/// # drop(only_v6);
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpBinding {
    address: SocketAddr,
    /// Whether the port receives over IPv4 on a machine without IPv6.
    may_use_ipv4: bool,
    peer: Option<SocketAddr>,
    is_shared: bool,
    dual_stack: bool,
    /// Whether the port opens without details on a system that has none.
    may_lack_details: bool,
    options: DatagramOptions,
}

impl UdpBinding {
    /// Creates a binding to `address`. With port 0 the system chooses a port.
    pub fn new(address: SocketAddr) -> UdpBinding {
        UdpBinding {
            address,
            may_use_ipv4: false,
            peer: None,
            is_shared: false,
            dual_stack: true,
            may_lack_details: false,
            options: DatagramOptions::default(),
        }
    }

    /// Creates a binding to `port` of every address of the machine, over IPv6 and IPv4. On a machine without IPv6 the
    /// port receives over IPv4 only.
    pub fn everywhere(port: u16) -> UdpBinding {
        UdpBinding { may_use_ipv4: true, ..UdpBinding::new((Ipv6Addr::UNSPECIFIED, port).into()) }
    }

    /// Creates a binding to `port` of every address of the family of `peer`, which is the only peer of the port. With
    /// port 0 the system chooses a port.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, UdpBinding};
    ///
    /// struct Ignore;
    ///
    /// impl DatagramProtocol for Ignore {
    ///     fn datagram_received(&mut self, _: &DatagramPort, _: &Datagram<'_>) {}
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_udp(UdpBinding::towards("10.0.0.2:53".parse().unwrap(), 0), Ignore)?;
    /// assert_eq!(port.peer().unwrap().to_string(), "10.0.0.2:53");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn towards(peer: SocketAddr, port: u16) -> UdpBinding {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        UdpBinding::new((any, port).into()).connect(peer)
    }

    /// Creates a binding to the address of a binding for TCP.
    pub(super) fn like(tcp: &Binding) -> UdpBinding {
        UdpBinding { may_use_ipv4: tcp.may_use_ipv4, ..UdpBinding::new(tcp.address) }
    }

    /// Connects the port to `peer`: [`DatagramPort::connect`].
    #[must_use]
    pub fn connect(mut self, peer: SocketAddr) -> UdpBinding {
        self.peer = Some(peer);
        self
    }

    /// Shares the address with other ports that set this option: `listenMultiple`. Linux spreads the datagrams over
    /// them by their senders. Datagrams for groups and broadcasts reach each of them.
    #[must_use]
    pub fn shared(mut self) -> UdpBinding {
        self.is_shared = true;
        self
    }

    /// Receives only over IPv6 on an IPv6 wildcard address, which otherwise also receives over IPv4.
    #[must_use]
    pub fn v6_only(mut self) -> UdpBinding {
        self.dual_stack = false;
        self.may_use_ipv4 = false;
        self
    }

    /// Sets the options of every kind of datagram port.
    #[must_use]
    pub fn options(mut self, options: DatagramOptions) -> UdpBinding {
        self.options = options;
        self
    }

    /// Sets the length of the longest datagram: [`DatagramOptions::max_packet_size`].
    #[must_use]
    pub fn max_packet_size(mut self, bytes: usize) -> UdpBinding {
        self.options = self.options.max_packet_size(bytes);
        self
    }

    /// Makes the details of each datagram known: [`DatagramOptions::details`].
    #[must_use]
    pub fn details(mut self) -> UdpBinding {
        self.options = self.options.details();
        self
    }

    /// Makes the details of each datagram known on systems that have them: Linux. Other systems ignore this option.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Reactor, UdpBinding};
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
    ///         // Without details the system chooses the address from which the answer leaves.
    ///         let _ = port.write_from(datagram.data, datagram.from, datagram.local);
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.listen_udp(UdpBinding::everywhere(0).details_where_available(), Echo)?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn details_where_available(mut self) -> UdpBinding {
        self.may_lack_details = true;
        self.details()
    }

    /// Sets the size of the receive buffer: [`DatagramOptions::receive_buffer`].
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> UdpBinding {
        self.options = self.options.receive_buffer(bytes);
        self
    }

    /// Sets the size of the send buffer: [`DatagramOptions::send_buffer`].
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> UdpBinding {
        self.options = self.options.send_buffer(bytes);
        self
    }

    fn spec(&self, address: SocketAddr) -> DatagramSpec {
        DatagramSpec {
            peer: self.peer.map(Address::Inet),
            shared: self.is_shared,
            dual_stack: self.dual_stack,
            ..self.options.spec(Address::Inet(address))
        }
    }
}

impl Reactor {
    /// Opens a UDP port. `protocol` gets the datagrams that arrive.
    ///
    /// A client is a port as well, usually at port 0 of a wildcard address. There is no connection, unless the binding
    /// [connects](UdpBinding::connect) the port.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::prelude::*;
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol};
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
    ///         let _ = port.write_to(datagram.data, datagram.from);
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Echo)?;
    /// println!("echoing at {}", port.host());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] when `binding` is not an address. [`Error::CannotListen`] when the address is in use
    /// or not allowed. [`Error::Unsupported`] when the provider has no UDP. [`Error::Waiting`].
    pub fn listen_udp<B>(&self, binding: B, protocol: impl DatagramProtocol + 'static) -> Result<DatagramPort>
    where
        B: TryInto<UdpBinding>,
        Error: From<B::Error>,
    {
        self.require(Interface::Udp)?;
        let binding = binding.try_into()?;
        let opened = match self.open_udp(&binding, binding.address) {
            Err(Error::CannotListen(_, cause)) if binding.may_use_ipv4 && is_family_missing(&cause) => {
                self.open_udp(&binding, (Ipv4Addr::UNSPECIFIED, binding.address.port()).into())?
            }
            outcome => outcome?,
        };
        DatagramPort::begin(self, opened, Box::new(protocol))
    }

    /// Opens a UDP port by the first of `bindings` for which that is possible.
    ///
    /// A client uses this method for a server with several addresses: each binding [connects](UdpBinding::connect) to one
    /// of them, and those without a route fail. The protocol starts only when the port is open. May be called from any
    /// callback.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor, UdpBinding};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let to = |local: &str| UdpBinding::new(local.parse().unwrap()).connect("127.0.0.1:53".parse().unwrap());
    /// let port = reactor.listen_udp_first(&[to("192.0.2.1:0"), to("127.0.0.1:0")], Silent)?;
    /// assert!(port.host().to_string().starts_with("127.0.0.1:")); // this machine does not have the other address
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoneOfSeveral`], or the error of the only binding: [`Error::NoRoute`] or [`Error::Connect`].
    /// [`Error::Unsupported`] when the provider has no UDP.
    pub fn listen_udp_first(
        &self,
        bindings: &[UdpBinding],
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramPort> {
        self.require(Interface::Udp)?;
        let mut failures = Vec::new();
        for binding in bindings {
            let peer = Address::Inet(binding.peer.unwrap_or(binding.address));
            match self.open_udp(binding, binding.address) {
                Ok(opened) => return DatagramPort::begin(self, opened, Box::new(protocol)),
                Err(error) => failures.push((peer.clone(), not_connected(peer, error))),
            }
        }
        match &failures[..] {
            [(_, only)] => Err(only.clone()),
            _ => Err(Error::NoneOfSeveral(failures.into())),
        }
    }

    /// Opens a UDP socket at `address`, without details if the system has none and `binding` can do without them.
    fn open_udp(&self, binding: &UdpBinding, address: SocketAddr) -> Result<Opened> {
        let spec = binding.spec(address);
        match self.open_datagrams(spec.clone()) {
            Err(Error::CannotListen(_, cause))
                if binding.may_lack_details && cause.kind() == ErrorKind::Unsupported =>
            {
                self.open_datagrams(DatagramSpec { details: false, ..spec })
            }
            outcome => outcome,
        }
    }

    /// Takes over a datagram socket that another program has opened: adoptDatagramPort. UDP and UNIX sockets may be
    /// bound or connected.
    ///
    /// The reactor takes ownership of the socket and makes it non-blocking. Clone the socket first to keep it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::net::UdpSocket;
    /// use ropewalk::{DatagramOptions, DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let socket = UdpSocket::bind("127.0.0.1:0").unwrap(); // as a service manager would
    /// let expected = socket.local_addr().unwrap();
    /// let port = reactor.adopt_datagram_port(socket, DatagramOptions::default(), Silent)?;
    /// assert_eq!(port.host().inet(), Some(expected));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the socket is not a datagram socket. [`Error::UnsupportedAddressFamily`] when it is neither a
    /// UDP nor a UNIX socket. [`Error::Unsupported`] when the provider cannot adopt sockets. [`Error::Waiting`].
    pub fn adopt_datagram_port(
        &self,
        socket: impl Into<OwnedSocket>,
        options: DatagramOptions,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramPort> {
        self.require(Interface::Udp)?;
        self.require(Interface::Socket)?;
        let spec = options.spec(Address::Unnamed);
        let adopted = self.0.datagrams(|datagrams| datagrams.adopt_datagrams(socket.into(), &spec))?;
        let (key, host, peer) = adopted.map_err(Error::adopt("cannot adopt a datagram socket"))?;
        DatagramPort::begin(self, Opened { key, host, peer, most: spec.most }, Box::new(protocol))
    }

    /// Opens a socket for a datagram port.
    pub(super) fn open_datagrams(&self, spec: DatagramSpec) -> Result<Opened> {
        let opened = self.0.datagrams(|datagrams| datagrams.open_datagrams(&spec))?;
        let address = || match (&spec.address, &spec.peer) {
            (Address::Unnamed, Some(peer)) => peer.clone(),
            (address, _) => address.clone(),
        };
        let (key, host) = opened.map_err(|error| Error::cannot_listen(address(), error))?;
        Ok(Opened { key, host, most: spec.most, peer: spec.peer })
    }
}

/// Returns the error of a port that was to be connected to `peer`.
fn not_connected(peer: Address, error: Error) -> Error {
    match error {
        Error::CannotListen(_, cause) => match cause.kind() {
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Error::NoRoute(peer, cause),
            _ => Error::Connect(peer, cause),
        },
        other => other,
    }
}
