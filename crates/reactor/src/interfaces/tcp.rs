//! IReactorTCP: listening and connecting over IPv4 and IPv6.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Address;
use ropewalk_sys::{IpFamily, ListenSpec};

use super::resolver::{literal, split_host_port};
use crate::error::{Error, Result};
use crate::kernel::{Interface, Reactor};
use crate::protocols::{ClientFactory, Factory};
use crate::transports::{Connector, Port, Target};

/// Twisted's default for `connectTCP`.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What [`Reactor::listen_tcp`] listens on: an address, and how.
///
/// Made from `"127.0.0.1:8000"`, `"[::1]:8000"`, `":8000"` (all addresses), a [`SocketAddr`] or an address and a port.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::Binding;
///
/// let net = MemoryReactor::new();
/// let binding = Binding::new("[::]:8000".parse().unwrap()).backlog(1024).reuse_port().v6_only();
/// net.listen_tcp(binding, AccumulatingProtocol::new().factory())?;
/// assert_eq!(net.tcp_servers()[0].backlog, 1024);
/// net.listen_tcp(":8080", AccumulatingProtocol::new().factory())?; // every address, without options
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Binding {
    address: SocketAddr,
    backlog: u32,
    reuse_port: bool,
    dual_stack: bool,
}

impl Binding {
    /// Listens on `address` with a backlog of 128; port 0 lets the system choose.
    pub fn new(address: SocketAddr) -> Binding {
        Binding { address, backlog: 128, reuse_port: false, dual_stack: true }
    }

    /// Lets this many connections wait to be accepted; the system may cap it.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Binding {
        self.backlog = connections;
        self
    }

    /// Shares the address with other sockets that ask for the same: SO_REUSEPORT.
    #[must_use]
    pub fn reuse_port(mut self) -> Binding {
        self.reuse_port = true;
        self
    }

    /// Takes only IPv6 connections on an IPv6 wildcard address, which otherwise takes IPv4 ones too.
    #[must_use]
    pub fn v6_only(mut self) -> Binding {
        self.dual_stack = false;
        self
    }
}

impl From<SocketAddr> for Binding {
    fn from(address: SocketAddr) -> Binding {
        Binding::new(address)
    }
}

impl From<(IpAddr, u16)> for Binding {
    fn from(address: (IpAddr, u16)) -> Binding {
        Binding::new(address.into())
    }
}

impl TryFrom<&str> for Binding {
    type Error = Error;

    fn try_from(text: &str) -> Result<Binding> {
        let (host, port) = split_host_port(text)?;
        if host.is_empty() {
            return Ok(Binding::new((Ipv6Addr::UNSPECIFIED, port).into()));
        }
        let expected = "IPV4:PORT, [IPV6]:PORT or :PORT; a name cannot be listened on";
        literal(host, port).map(Binding::new).ok_or_else(|| Error::invalid_address(text, expected))
    }
}

impl TryFrom<&String> for Binding {
    type Error = Error;

    fn try_from(text: &String) -> Result<Binding> {
        Binding::try_from(text.as_str())
    }
}

/// Whither [`Reactor::connect_tcp`] connects, and how.
///
/// Made from `"example.org:80"`, `"127.0.0.1:80"`, `"[::1]:80"`, a [`SocketAddr`], or a host and a port.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::Destination;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// net.add_host("example.org", &["192.0.2.1", "2001:db8::1"]);
/// let destination = Destination::new("example.org", 80).timeout(Duration::from_secs(5)).v4_only();
/// net.connect_tcp(destination.bind("192.0.2.99:0".parse().unwrap()), AccumulatingProtocol::new().factory())?;
/// net.settle();
/// let tried: Vec<_> = net.tcp_clients().iter().map(|attempt| attempt.address.to_string()).collect();
/// assert_eq!(tried, ["192.0.2.1:80"]);
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Destination {
    target: Target,
    timeout: Option<Duration>,
    bind: Option<SocketAddr>,
    family: Option<IpFamily>,
}

impl Destination {
    /// A name or IP address, and a port. The timeout is 30 s.
    pub fn new(host: &str, port: u16) -> Destination {
        let target = match literal(host, port) {
            Some(address) => Target::Address(address.into()),
            None => Target::Name { host: host.into(), port, family: None },
        };
        Destination { target, timeout: Some(CONNECT_TIMEOUT), bind: None, family: None }
    }

    /// How long connecting may take, with resolving the name; `None` leaves it to the system.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Destination {
        self.timeout = timeout.into();
        self
    }

    /// Connects from this address; port 0 lets the system choose.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Destination {
        self.bind = Some(address);
        self
    }

    /// Connects over IPv4 alone: of a name's addresses, the others are left out.
    #[must_use]
    pub fn v4_only(mut self) -> Destination {
        self.family = Some(IpFamily::V4);
        self
    }

    /// Connects over IPv6 alone: of a name's addresses, the others are left out. TCP6ClientEndpoint.
    #[must_use]
    pub fn v6_only(mut self) -> Destination {
        self.family = Some(IpFamily::V6);
        self
    }

    /// # Errors
    /// [`Error::InvalidAddress`] when it is an address of the family that was left out.
    fn into_target(self) -> Result<Target> {
        match (self.target, self.family) {
            (Target::Address(Address::Inet(address)), Some(family)) if !family.has(&address) => {
                Err(Error::invalid_address(&address.to_string(), &format!("a name or an {family} address")))
            }
            (Target::Name { host, port, .. }, family) => Ok(Target::Name { host, port, family }),
            (target, _) => Ok(target),
        }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Destination {
        Destination {
            target: Target::Address(address.into()),
            timeout: Some(CONNECT_TIMEOUT),
            bind: None,
            family: None,
        }
    }
}

impl From<(&str, u16)> for Destination {
    fn from((host, port): (&str, u16)) -> Destination {
        Destination::new(host, port)
    }
}

impl TryFrom<&str> for Destination {
    type Error = Error;

    fn try_from(text: &str) -> Result<Destination> {
        let (host, port) = split_host_port(text)?;
        if host.is_empty() {
            return Err(Error::invalid_address(text, "HOST:PORT with a host to connect to"));
        }
        Ok(Destination::new(host, port))
    }
}

impl TryFrom<&String> for Destination {
    type Error = Error;

    fn try_from(text: &String) -> Result<Destination> {
        Destination::try_from(text.as_str())
    }
}

impl Reactor {
    /// Accepts TCP connections, and has `factory` build a protocol for each.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, transport: &Transport, data: &[u8]) { transport.write(data); }
    /// # }
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_tcp("127.0.0.1:0", || Echo)?;
    /// println!("listening on {}", port.host()?);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidAddress`]; [`Error::CannotListen`] when the address is taken or not allowed;
    /// [`Error::Unsupported`].
    pub fn listen_tcp<B>(&self, binding: B, factory: impl Factory + 'static) -> Result<Port>
    where
        B: TryInto<Binding>,
        Error: From<B::Error>,
    {
        self.require(Interface::Tcp)?;
        let binding = binding.try_into()?;
        let spec = ListenSpec {
            backlog: binding.backlog,
            reuse_port: binding.reuse_port,
            dual_stack: binding.dual_stack,
            ..ListenSpec::new(Address::Inet(binding.address))
        };
        Port::listen(self, spec, false, Rc::new(factory))
    }

    /// Connects over TCP, and has `factory` build a protocol when that succeeds.
    ///
    /// Nothing happens before this has returned, except that the factory is started and told that an attempt begins. A
    /// name is resolved in threads, both families side by side, and IPv4 waits up to 50 ms for IPv6; the addresses are
    /// tried in turn, each 250 ms after the one before or as soon as that failed, and the first that answers wins:
    /// RFC 8305.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct Ask;
    ///
    /// impl Protocol for Ask {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"what time is it?");
    ///     }
    ///
    ///     fn data_received(&mut self, transport: &Transport, _answer: &[u8]) {
    ///         transport.lose_connection();
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:37").unwrap();
    /// net.connect_tcp("10.0.0.1:37", || Ask)?;
    /// net.settle();
    /// assert_eq!(server.accept().unwrap().received(), b"what time is it?");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] and [`Error::Unsupported`]; everything else is told to the factory, among it
    /// [`Error::NoneOfSeveral`] when each of several addresses failed.
    pub fn connect_tcp<D>(&self, destination: D, factory: impl ClientFactory + 'static) -> Result<Connector>
    where
        D: TryInto<Destination>,
        Error: From<D::Error>,
    {
        self.require(Interface::Tcp)?;
        let destination = destination.try_into()?;
        let (bind, timeout) = (destination.bind.map(Address::Inet), destination.timeout);
        Connector::begin(self, destination.into_target()?, bind, timeout, Rc::new(factory))
    }

    /// Has chunks of at least so many bytes leave over TCP without being copied by the operating system; `None`, which is how
    /// it begins, ends that. Returns whether this reactor can: on uring, if the kernel has IORING_OP_SEND_ZC.
    ///
    /// It is for whole chunks that were given with [`write_bytes`](crate::Transport::write_bytes), and for what is queued behind
    /// them: what [`write`](crate::Transport::write) is lent leaves at once. A chunk lives until the peer's system has
    /// acknowledged it, so the memory that a slow peer holds is that of whole chunks; what the kernel still holds when the reactor
    /// is dropped, which waits a moment for that, is never freed. Where the kernel cannot, for one connection or at the moment,
    /// it copies.
    ///
    /// **Measure before you use it.** Each send takes a second completion and the kernel's book-keeping about the pages, and over
    /// the loopback the kernel copies all the same: the chapter on choosing a reactor has the figures. It may pay
    /// for hundreds of kilobytes over a network card that sends from memory.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// if !reactor.set_zero_copy_from(Some(256 * 1024))? {
    ///     println!("{} copies what it sends", reactor.name());
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Waiting`] while a wait was detached.
    pub fn set_zero_copy_from(&self, bytes: Option<usize>) -> Result<bool> {
        self.0.provider(|provider| provider.set_zero_copy_from(bytes))
    }
}
