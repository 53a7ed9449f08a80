//! IReactorTCP: listening and connecting over IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Address, DEFAULT_BACKLOG};
use ropewalk_sys::{IpFamily, ListenSpec, is_family_missing};

use super::Interface;
use super::resolver::{HostnameResolver, OneResolver, literal};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::{ClientFactory, Factory};
use crate::transports::{ATTEMPT_DELAY, Connector, HostName, Port, Target};

/// The least Connection Attempt Delay that RFC 8305 allows, section 5.
const SHORTEST_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// Twisted's default for `connectTCP`.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The address that [`Reactor::listen_tcp`] listens on, with options.
///
/// Converts from `"127.0.0.1:8000"`, `"[::1]:8000"`, `":8000"` ([everywhere](Binding::everywhere)), a [`SocketAddr`], or
/// an address and a port, such as `("127.0.0.1", 8000)`.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::Binding;
///
/// let net = MemoryReactor::new();
/// let binding = Binding::new("[::]:8000".parse().unwrap()).backlog(64).reuse_port().v6_only();
/// net.listen_tcp(binding, AccumulatingProtocol::new().factory())?;
/// assert_eq!(net.tcp_servers()[0].backlog, 64);
/// net.listen_tcp(":8080", AccumulatingProtocol::new().factory())?; // all addresses, default options
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Binding {
    pub(super) address: SocketAddr,
    /// Whether the port listens over IPv4 on a machine without IPv6.
    pub(super) may_use_ipv4: bool,
    backlog: u32,
    reuse_port: bool,
    dual_stack: bool,
}

impl Binding {
    /// Creates a binding to `address` with a backlog of [`DEFAULT_BACKLOG`]. With port 0 the system chooses a port.
    pub fn new(address: SocketAddr) -> Binding {
        Binding { address, may_use_ipv4: false, backlog: DEFAULT_BACKLOG, reuse_port: false, dual_stack: true }
    }

    /// Creates a binding to `port` of every address of the machine, over IPv6 and IPv4.
    ///
    /// On a machine without IPv6 the port listens over IPv4 only. If the port is in use over either family, listening
    /// fails.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    /// use ropewalk::Binding;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp(Binding::everywhere(8000), AccumulatingProtocol::new().factory())?;
    /// let clients = ["127.0.0.1:8000", "[::1]:8000"].map(|address| net.connect_stream(address));
    /// net.settle();
    /// assert!(clients.iter().all(|client| client.is_connected()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn everywhere(port: u16) -> Binding {
        Binding { may_use_ipv4: true, ..Binding::new((Ipv6Addr::UNSPECIFIED, port).into()) }
    }

    /// Sets the number of connections that may wait to be accepted. The system may impose a lower limit.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Binding {
        self.backlog = connections;
        self
    }

    /// Shares the address with other sockets that set this option: SO_REUSEPORT.
    #[must_use]
    pub fn reuse_port(mut self) -> Binding {
        self.reuse_port = true;
        self
    }

    /// Accepts only IPv6 connections on an IPv6 wildcard address, which otherwise also accepts IPv4 ones.
    #[must_use]
    pub fn v6_only(mut self) -> Binding {
        self.dual_stack = false;
        self.may_use_ipv4 = false;
        self
    }

    fn listen(&self, reactor: &Reactor, address: SocketAddr, factory: Rc<dyn Factory>) -> Result<Port> {
        let spec = ListenSpec {
            backlog: self.backlog,
            reuse_port: self.reuse_port,
            dual_stack: self.dual_stack,
            ..ListenSpec::new(Address::Inet(address))
        };
        Port::listen(reactor, spec, false, factory)
    }
}

/// The target of [`Reactor::connect_tcp`], with options.
///
/// Converts from `"example.org:80"`, `"127.0.0.1:80"`, `"[::1]:80"`, `":80"` (this machine), a [`SocketAddr`], or a host
/// and a port, such as `("example.org", 80)`.
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
    resolver: Option<OneResolver>,
    attempt_delay: Duration,
}

impl Destination {
    /// Creates a destination from a name or IP address, and a port. The empty name is this machine: its loopback address.
    /// The timeout is 30 s.
    pub fn new(host: &str, port: u16) -> Destination {
        match literal(host, port) {
            Some(address) => Destination::address(address),
            None => Destination::to(Target::Name(HostName {
                host: host.into(),
                port,
                family: None,
                resolver: None,
                attempt_delay: ATTEMPT_DELAY,
            })),
        }
    }

    /// Creates a destination from an address. The timeout is 30 s.
    pub(super) fn address(address: SocketAddr) -> Destination {
        Destination::to(Target::Address(address.into()))
    }

    fn to(target: Target) -> Destination {
        Destination {
            target,
            timeout: Some(CONNECT_TIMEOUT),
            bind: None,
            family: None,
            resolver: None,
            attempt_delay: ATTEMPT_DELAY,
        }
    }

    /// Sets the time limit for connecting, including name resolution. `None` leaves the limit to the system.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Destination {
        self.timeout = timeout.into();
        self
    }

    /// Sets the local address of the connection. With port 0 the system chooses a port.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Destination {
        self.bind = Some(address);
        self
    }

    /// Connects over IPv4 only. Other addresses of a name are ignored.
    #[must_use]
    pub fn v4_only(mut self) -> Destination {
        self.family = Some(IpFamily::V4);
        self
    }

    /// Connects over IPv6 only, like `TCP6ClientEndpoint`. Other addresses of a name are ignored.
    #[must_use]
    pub fn v6_only(mut self) -> Destination {
        self.family = Some(IpFamily::V6);
        self
    }

    /// Looks the name up by `resolver`, instead of the one that is
    /// [installed](Reactor::install_name_resolver) in the reactor. Has no effect on an IP address.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::Destination;
    /// use ropewalk::interfaces::resolver::{HostsFileResolver, ThreadedResolver};
    ///
    /// let hosts = Rc::new(HostsFileResolver::new("/srv/cluster/hosts", Rc::new(ThreadedResolver)));
    /// let node = Destination::new("node7", 4000).resolver(hosts.clone());
    /// let other = Destination::new("node8", 4000).resolver(hosts); // shares what was read
    /// # drop((node, other));
    /// ```
    #[must_use]
    pub fn resolver(mut self, resolver: Rc<dyn HostnameResolver>) -> Destination {
        self.resolver = Some(OneResolver(resolver));
        self
    }

    /// Sets the time after which the next address of a name is tried while earlier attempts still run: the Connection
    /// Attempt Delay of RFC 8305, and `attemptDelay` of `HostnameEndpoint`. The default is 250 ms, and less than 10 ms
    /// counts as 10 ms.
    ///
    /// The delay never stops an earlier attempt, which may still be the one that connects.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Destination;
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().black_hole([192, 0, 2, 1]));
    /// net.add_host("example.org", &["192.0.2.1", "192.0.2.2"]);
    /// let impatient = Destination::new("example.org", 80).attempt_delay(Duration::from_millis(100));
    /// net.connect_tcp(impatient, AccumulatingProtocol::new().factory())?;
    /// net.advance(Duration::from_millis(101));
    /// assert_eq!(net.tcp_clients().len(), 2);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> Destination {
        self.attempt_delay = delay.max(SHORTEST_ATTEMPT_DELAY);
        self
    }

    /// Returns the name or the IP address of the destination, without the port.
    #[cfg(feature = "tls")]
    pub(crate) fn host(&self) -> String {
        match &self.target {
            Target::Name(HostName { host, .. }) if host.is_empty() => "localhost".to_owned(),
            Target::Name(HostName { host, .. }) => host.to_string(),
            Target::Address(address) => address.inet().map_or_else(String::new, |inet| inet.ip().to_string()),
            _ => String::new(),
        }
    }

    /// # Errors
    /// [`Error::InvalidAddress`] when the destination is an address of the excluded family.
    fn into_target(self) -> Result<Target> {
        match (self.target, self.family) {
            (Target::Address(Address::Inet(address)), Some(family)) if !family.has(&address) => {
                Err(Error::invalid_address(&address.to_string(), &format!("a name or an {family} address")))
            }
            (Target::Name(HostName { host, port, .. }), family) if host.is_empty() => {
                let this_machine: IpAddr = match family {
                    Some(IpFamily::V6) => Ipv6Addr::LOCALHOST.into(),
                    _ => Ipv4Addr::LOCALHOST.into(),
                };
                Ok(Target::Address(SocketAddr::new(this_machine, port).into()))
            }
            (Target::Name(name), family) => {
                let (resolver, attempt_delay) = (self.resolver, self.attempt_delay);
                Ok(Target::Name(HostName { family, resolver, attempt_delay, ..name }))
            }
            (target, _) => Ok(target),
        }
    }
}

impl Reactor {
    /// Accepts TCP connections. `factory` builds a protocol for each connection.
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
    /// [`Error::InvalidAddress`] when `binding` is not an address. [`Error::CannotListen`] when the address is in use
    /// or not allowed. [`Error::Unsupported`] when the provider has no TCP.
    pub fn listen_tcp<B>(&self, binding: B, factory: impl Factory + 'static) -> Result<Port>
    where
        B: TryInto<Binding>,
        Error: From<B::Error>,
    {
        self.require(Interface::Tcp)?;
        let (binding, factory) = (binding.try_into()?, Rc::new(factory));
        match binding.listen(self, binding.address, factory.clone()) {
            Err(Error::CannotListen(_, cause)) if binding.may_use_ipv4 && is_family_missing(&cause) => {
                let everywhere = (Ipv4Addr::UNSPECIFIED, binding.address.port()).into();
                binding.listen(self, everywhere, factory)
            }
            outcome => outcome,
        }
    }

    /// Connects over TCP. `factory` builds a protocol for the connection.
    ///
    /// Before this method returns, only `start_factory` and `started_connecting` of the factory are called.
    ///
    /// A name is resolved in threads, with both address families in parallel. If the IPv4 addresses arrive first, they
    /// wait up to 50 ms for the IPv6 addresses. The addresses are tried in order: each attempt starts 250 ms after the
    /// previous one, or as soon as that attempt fails. The first attempt that connects is used, and the others are
    /// cancelled: RFC 8305.
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
    /// [`Error::InvalidAddress`] when `destination` is not an address, and [`Error::Unsupported`] when the provider has
    /// no TCP. Later failures are reported to the factory, such as [`Error::NoneOfSeveral`] when each of several
    /// addresses failed.
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
}
