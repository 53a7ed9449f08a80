//! IReactorPluggableNameResolver: from host names to addresses.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, fail, succeed};
pub use ropewalk_sys::IpFamily;
use ropewalk_sys::{check_name, look_up, zone_number};

pub use super::ascii_name::ascii_host_name;
pub use super::hosts_file::HostsFileResolver;
use super::questions::{Question, Questions};
use crate::error::Error;
use crate::kernel::{Feature, Reactor};
use crate::task::AddTimeout;

/// The time limit of a look-up: the sum of the timeouts of Twisted's `resolve`, 1, 3, 11 and 45 seconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Resolves host names: IHostnameResolver.
///
/// Equal questions at the same time are asked once, and all callers get the answer.
///
/// The reactor calls the methods on its own thread, so they must not block. Blocking look-ups belong in
/// [`defer_to_thread`](Reactor::defer_to_thread).
///
/// ```
/// use std::net::SocketAddr;
/// use std::rc::Rc;
/// use ropewalk::interfaces::resolver::HostnameResolver;
/// use ropewalk::{Deferred, Reactor, succeed};
///
/// /// Resolves a single name.
/// struct Intranet;
///
/// impl HostnameResolver for Intranet {
///     fn resolve_host_name(&self, _reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
///         let known = (host == "printer").then(|| ([10, 0, 0, 9], port).into());
///         succeed(known.into_iter().collect())
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// reactor.install_name_resolver(Rc::new(Intranet));
/// let printer = reactor.resolve_host_name("printer", 631).try_result().unwrap().unwrap();
/// assert_eq!(printer, ["10.0.0.9:631".parse().unwrap()]);
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait HostnameResolver {
    /// Returns the addresses of `host`, each with `port`, in order of preference. An unknown name gives an empty list.
    ///
    /// `host` is never empty and never an IP address: the reactor does not pass these to a resolver. A name with letters
    /// beyond ASCII is passed in its ASCII form: [`ascii_host_name`].
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>>;

    /// Returns the addresses of `host` in one family: `addressTypes`. The default implementation returns `None`,
    /// because it does not separate the families.
    ///
    /// A connection attempt asks for both families in parallel, and does not have to wait for the slower one: RFC 8305.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::interfaces::resolver::{HostnameResolver, IpFamily};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    /// use ropewalk::{Deferred, Reactor, succeed};
    ///
    /// /// Answers at once for IPv4, and after an hour for IPv6.
    /// struct Half;
    ///
    /// impl HostnameResolver for Half {
    ///     fn resolve_host_name(&self, _: &Reactor, _: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
    ///         succeed(vec![([10, 0, 0, 1], port).into()])
    ///     }
    ///     fn resolve_family(
    ///         &self, reactor: &Reactor, host: &str, port: u16, family: IpFamily,
    ///     ) -> Option<Deferred<Vec<SocketAddr>>> {
    ///         match family {
    ///             IpFamily::V4 => Some(self.resolve_host_name(reactor, host, port)),
    ///             IpFamily::V6 => Some(reactor.defer_later(Duration::from_secs(3600), |_| succeed(Vec::new()))),
    ///         }
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.install_name_resolver(Rc::new(Half));
    /// let server = net.listen_stream("10.0.0.1:80")?;
    /// net.connect_tcp("half.example:80", AccumulatingProtocol::new().factory())?;
    /// net.advance(Duration::from_millis(49));
    /// assert!(server.accept().is_none());
    /// net.advance(Duration::from_millis(2));
    /// assert!(server.accept().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn resolve_family(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        let _ = (reactor, host, port, family);
        None
    }
}

/// A resolver that asks the operating system with getaddrinfo(3), in up to ten threads that serve nothing else. It is
/// the default, unless the event provider has names of its own, as a simulated network does.
///
/// `localhost` and the names below it are this machine's loopback addresses, and no other program is asked: RFC 6761. A
/// name that no name server can have is an error that says why, such as one with two dots in a row. A look-up that is
/// cancelled before a thread starts it is not made. A look-up that a thread is making cannot be interrupted.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::Reactor;
/// use ropewalk::interfaces::resolver::ThreadedResolver;
///
/// let reactor = Reactor::new()?;
/// reactor.install_name_resolver(Rc::new(ThreadedResolver)); // the default here
/// let addresses = reactor.resolve_host_name("db.localhost", 80).try_result().unwrap().unwrap(); // no thread is needed
/// assert!(addresses.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadedResolver;

impl HostnameResolver for ThreadedResolver {
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if let Err(error) = check_name(host) {
            return fail(error);
        }
        if let Some(loopback) = loopback(host, port) {
            return succeed(loopback);
        }
        let host = host.to_owned();
        let addresses = reactor.defer_to_lookup_thread(move || (&*host, port).to_socket_addrs().map(Vec::from_iter));
        addresses.and_then(|found: io::Result<Vec<SocketAddr>>| found)
    }

    fn resolve_family(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        if let Some(loopback) = loopback(host, port) {
            return Some(succeed(of_family(loopback, family)));
        }
        let host = host.to_owned();
        let addresses = reactor.defer_to_lookup_thread(move || look_up(&host, port, family));
        Some(addresses.and_then(|found: io::Result<Vec<SocketAddr>>| found))
    }
}

/// The default resolver: the names of the provider's own network, or else those of the operating system.
struct DefaultResolver;

impl HostnameResolver for DefaultResolver {
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if let Err(error) = check_name(host) {
            return fail(error);
        }
        match reactor.0.look_up(host) {
            Some(Ok(found)) if found.is_empty() => succeed(loopback(host, port).unwrap_or_default()),
            Some(Ok(found)) => succeed(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
            Some(Err(error)) => fail(error),
            None => ThreadedResolver.resolve_host_name(reactor, host, port),
        }
    }

    fn resolve_family(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        // The provider answers at once, and for both families.
        if reactor.0.has_names() { None } else { ThreadedResolver.resolve_family(reactor, host, port, family) }
    }
}

impl Reactor {
    /// Returns the addresses of `host`, a name or an IP address, each with `port`: `resolve` and `resolveHostName`.
    ///
    /// The empty name is the unspecified address, `0.0.0.0`. A name without addresses gives an empty list. While a
    /// look-up of `host` and `port` is under way, another caller waits for the same answer. Cancelling the Deferred
    /// affects no other caller. The Deferred fails when the resolver fails, and with
    /// [`TimedOut`](crate::task::TimedOut) when it does not answer within 60 s. Use
    /// [`add_timeout`](AddTimeout::add_timeout) for a shorter time.
    ///
    /// A name with letters beyond ASCII is looked up in its ASCII form: see [`ascii_host_name`], whose error becomes that
    /// of the Deferred.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.add_host("example.org", &["2001:db8::1", "192.0.2.1"]);
    /// let addresses = net.resolve_host_name("example.org", 443).try_result().unwrap().unwrap();
    /// assert_eq!(addresses[1].to_string(), "192.0.2.1:443");
    /// let literal = net.resolve_host_name("192.0.2.7", 80).try_result().unwrap().unwrap();
    /// assert_eq!(literal[0].to_string(), "192.0.2.7:80"); // the resolver is not asked
    /// ```
    pub fn resolve_host_name(&self, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        self.resolve_by(&self.installed_resolver(), host, port)
    }

    /// Resolves as [`resolve_host_name`](Reactor::resolve_host_name), by `resolver`.
    pub(crate) fn resolve_by(&self, resolver: &OneResolver, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if host.is_empty() {
            return succeed(vec![(Ipv4Addr::UNSPECIFIED, port).into()]);
        }
        let look_up = |name: &str| Some(resolver.0.resolve_host_name(self, name, port));
        // The resolver always answers a question for both families.
        self.ask(resolver, host, port, None, look_up).unwrap_or_else(|| succeed(Vec::new()))
    }

    /// Resolves as [`resolve_by`](Reactor::resolve_by), in one family. `None` if the resolver does not distinguish the
    /// families.
    pub(crate) fn resolve_family_by(
        &self,
        resolver: &OneResolver,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        let look_up = |name: &str| resolver.0.resolve_family(self, name, port, family);
        self.ask(resolver, host, port, Some(family), look_up)
    }

    /// Asks `resolver` by `look_up`, unless another caller waits for the same answer.
    fn ask(
        &self,
        resolver: &OneResolver,
        host: &str,
        port: u16,
        family: Option<IpFamily>,
        look_up: impl FnOnce(&str) -> Option<Deferred<Vec<SocketAddr>>>,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        let name = match ascii_host_name(host) {
            Ok(name) => name,
            Err(error) => return Some(fail(error)),
        };
        // Wide digits become ordinary ones, so the ASCII form may be an address although `host` is not.
        if let Some(address) = literal(&name, port) {
            let found = vec![address];
            return Some(succeed(match family {
                Some(family) => of_family(found, family),
                None => found,
            }));
        }
        let names = self.feature::<NameResolver>();
        let question = Question { host: Rc::from(&*name), port, family, resolver: resolver.clone() };
        let _entered = self.0.enter();
        let answer = names.questions.ask(question, || look_up(&name))?;
        Some(answer.add_timeout(LOOKUP_TIMEOUT, self))
    }

    /// Returns the resolver that is asked unless a caller chooses another one.
    pub(crate) fn installed_resolver(&self) -> OneResolver {
        OneResolver(self.feature::<NameResolver>().installed.borrow().clone())
    }

    /// Replaces the resolver, and returns the previous one: `installNameResolver`.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::Reactor;
    /// use ropewalk::interfaces::resolver::ThreadedResolver;
    ///
    /// let reactor = Reactor::new()?;
    /// let before = reactor.install_name_resolver(Rc::new(ThreadedResolver));
    /// reactor.install_name_resolver(before); // restores it
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn install_name_resolver(&self, resolver: Rc<dyn HostnameResolver>) -> Rc<dyn HostnameResolver> {
        self.feature::<NameResolver>().installed.replace(resolver)
    }
}

/// The installed resolver, and the questions that have no answer yet.
struct NameResolver {
    installed: RefCell<Rc<dyn HostnameResolver>>,
    questions: Rc<Questions>,
}

impl Feature for NameResolver {
    fn new(_reactor: &Reactor) -> NameResolver {
        NameResolver { installed: RefCell::new(Rc::new(DefaultResolver)), questions: Rc::default() }
    }
}

/// A resolver, which is equal only to itself.
#[derive(Clone)]
pub(crate) struct OneResolver(pub(crate) Rc<dyn HostnameResolver>);

impl OneResolver {
    fn address(&self) -> *const () {
        Rc::as_ptr(&self.0).cast()
    }
}

impl PartialEq for OneResolver {
    fn eq(&self, other: &OneResolver) -> bool {
        self.address() == other.address()
    }
}

impl Eq for OneResolver {}

impl Hash for OneResolver {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl std::fmt::Debug for OneResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostnameResolver")
    }
}

/// Returns the addresses of `localhost` and of each name below it: RFC 6761, section 6.3.
pub(crate) fn loopback(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next()?;
    let addresses = || vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()];
    last.eq_ignore_ascii_case("localhost").then(addresses)
}

pub(crate) fn of_family(mut addresses: Vec<SocketAddr>, family: IpFamily) -> Vec<SocketAddr> {
    addresses.retain(|address| family.has(address));
    addresses
}

/// Parses `host` as an IP address: `127.0.0.1`, `::1`, or with a zone `fe80::1%2` or `fe80::1%eth0`.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, zone) = host.split_once('%')?;
    Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, zone_number(zone)?).into())
}

/// Splits `host:port` or `[v6]:port`. `expected` describes valid texts, for the error message.
pub(crate) fn split_host_port<'a>(text: &'a str, expected: &str) -> Result<(&'a str, u16), Error> {
    let invalid = || Error::invalid_address(text, expected);
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    // Rust's own parser also accepts a sign.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number).ok_or_else(invalid)?;
    let unbracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if unbracketed.is_none() && host.contains(':') {
        return Err(invalid());
    }
    Ok((unbracketed.unwrap_or(host), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_split_off_at_the_last_colon() {
        assert_eq!(split_host_port("example.org:80", "").unwrap(), ("example.org", 80));
        assert_eq!(split_host_port("[::1]:80", "").unwrap(), ("::1", 80));
        assert_eq!(split_host_port(":80", "").unwrap(), ("", 80));
    }

    #[test]
    fn a_bare_ipv6_address_or_bad_port_is_explained() {
        for text in ["::1:80", "h.example", "h.example:", "h.example:65536", "h.example:http", "127.0.0.1:+80"] {
            let error = split_host_port(text, "HOST:PORT").unwrap_err().to_string();
            assert_eq!(error, format!("'{text}' is not an address: expected HOST:PORT"));
        }
    }

    #[test]
    fn a_scoped_address_is_a_literal() {
        assert_eq!(literal("fe80::1%2", 9).unwrap().to_string(), "[fe80::1%2]:9");
        assert_eq!(literal("example.org", 9), None);
    }
}
