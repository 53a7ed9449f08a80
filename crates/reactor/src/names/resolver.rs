//! The resolver: looks up a host name by itself, and below each domain of the search list.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use ropewalk_proto::{Deferred, DeferredList, Failure, fail, succeed};
use ropewalk_sys::{IpFamily, check_name};

use super::cache::Outcome;
use super::config::DnsConfig;
use super::error::DnsError;
use super::follow::Client;
use crate::interfaces::resolver::{HostnameResolver, ascii_host_name, loopback, of_family};
use crate::kernel::{Reactor, WeakReactor};

/// A resolver that asks name servers itself, with sockets of the reactor: `client.Resolver` of `twisted.names`.
///
/// Each question leaves from a port of its own with an identifier of its own. Both are random, and cannot be guessed.
/// On a simulated network they follow from its seed. Datagrams that do not answer the question are ignored.
///
/// A server that does not answer in time, or reports a failure of its own, is followed by the next one. An answer that
/// does not fit into a datagram is fetched by TCP. Answers are kept until they expire. A name that does not exist is an
/// error, [`DnsError::NoSuchName`], and a name without addresses an empty list.
///
/// Cancelling a look-up closes its socket. `localhost` and the names below it are this machine's loopback addresses, and
/// no server is asked: RFC 6761. For the names in `/etc/hosts`, put a
/// [`HostsFileResolver`](crate::interfaces::resolver::HostsFileResolver) before this one.
///
/// Clones share the answers. A resolver may be used by all reactors of its thread.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::interfaces::resolver::HostsFileResolver;
/// use ropewalk::names::{DnsConfig, DnsError, DnsResolver};
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new(); // the same on a real reactor
/// let config = DnsConfig::from_resolv_conf("nameserver 10.0.0.53\noptions timeout:1 attempts:3");
/// let resolver = Rc::new(HostsFileResolver::new("/etc/hosts", Rc::new(DnsResolver::new(config))));
/// net.install_name_resolver(resolver);
///
/// let found = net.resolve_host_name("host.example", 80);
/// net.advance(Duration::from_secs(3)); // no name server is there
/// let failure = found.try_result().unwrap().unwrap_err();
/// assert!(failure.downcast_ref::<DnsError>().unwrap().is_temporary());
/// assert_eq!(failure.to_string(), "no name server has answered: 10.0.0.53:53 failed: connection refused");
/// ```
#[derive(Clone)]
pub struct DnsResolver(Rc<Client>);

impl DnsResolver {
    /// Creates a resolver that asks the servers in `config`.
    pub fn new(config: DnsConfig) -> DnsResolver {
        DnsResolver(Rc::new(Client::new(config)))
    }

    /// Asks for the records of a type, such as `MX`, and returns the answer: `lookupMailExchange` and its like.
    ///
    /// `name` is looked up as it is, without the search list and the cache. The answer may also say that the name does
    /// not exist, or that it has no such records. The Deferred fails with a [`DnsError`] if no server has answered.
    ///
    /// May be called from any callback on the reactor's thread.
    ///
    /// ```no_run
    /// use ropewalk::Reactor;
    /// use ropewalk::names::hickory_proto::rr::RecordType;
    /// use ropewalk::names::{DnsConfig, DnsResolver};
    ///
    /// let reactor = Reactor::new()?;
    /// let resolver = DnsResolver::new(DnsConfig::from_resolv_conf(&std::fs::read_to_string("/etc/resolv.conf")?));
    /// let answer = resolver.query(&reactor, "example.org", RecordType::MX).add_callback(|message| {
    ///     for record in message.answers() {
    ///         println!("{record}");
    ///     }
    /// });
    /// # drop(answer);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn query(&self, reactor: &Reactor, name: &str, record_type: RecordType) -> Deferred<Message> {
        let name = match ascii_host_name(name).map_err(Failure::from).and_then(|name| Ok(absolute(&name)?)) {
            Ok(name) => name,
            Err(failure) => return fail(failure),
        };
        let (client, weak) = (self.0.clone(), reactor.downgrade());
        let question = Query::query(name, record_type);
        reactor.spawn(async move { client.ask(&weak, &question).await }).and_then(|answer| answer)
    }

    /// Returns the addresses of `host` in one family.
    fn look_up(&self, reactor: &Reactor, host: &str, port: u16, family: IpFamily) -> Deferred<Vec<SocketAddr>> {
        if let Err(error) = check_name(host) {
            return fail(error);
        }
        if let Some(found) = loopback(host, port) {
            return succeed(of_family(found, family));
        }
        let names = match self.0.names(host) {
            Ok(names) => names,
            Err(error) => return fail(error),
        };
        let (client, weak, record_type) = (self.0.clone(), reactor.downgrade(), record_type(family));
        // A known address needs no task.
        let found = match client.known_first(&weak, &names, record_type) {
            Some(found) => succeed(found),
            None => {
                let search = async move { client.search(&weak, &names, record_type).await };
                reactor.spawn(search).and_then(|outcome: Outcome| outcome)
            }
        };
        found.add_callback(move |found| found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }
}

impl HostnameResolver for DnsResolver {
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let families = [IpFamily::V6, IpFamily::V4].map(|family| self.look_up(reactor, host, port, family));
        DeferredList::new(families.into()).consume_errors().results().and_then(both)
    }

    fn resolve_family(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        Some(self.look_up(reactor, host, port, family))
    }
}

impl std::fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsResolver").field("config", &self.0.servers.config).finish_non_exhaustive()
    }
}

/// Returns the addresses of both families. An error counts if there are none.
fn both(outcomes: Vec<Result<Vec<SocketAddr>, Failure>>) -> Result<Vec<SocketAddr>, Failure> {
    let (mut found, mut failure) = (Vec::new(), None);
    for outcome in outcomes {
        match outcome {
            Ok(addresses) => found.extend(addresses),
            Err(other) => failure = failure.or(Some(other)),
        }
    }
    match failure {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

fn record_type(family: IpFamily) -> RecordType {
    match family {
        IpFamily::V4 => RecordType::A,
        IpFamily::V6 => RecordType::AAAA,
    }
}

/// Parses a name, and puts it below the root.
fn absolute(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(name).map_err(|error| DnsError::InvalidName(error.to_string()))?;
    name.set_fqdn(true);
    Ok(name)
}

impl Client {
    /// Returns the names that `host` may stand for, in the order in which they are asked for: resolv.conf(5).
    fn names(&self, host: &str) -> Result<Vec<Name>, DnsError> {
        let config = &self.servers.config;
        let as_it_is = absolute(host)?;
        if host.ends_with('.') {
            return Ok(vec![as_it_is]);
        }
        // A domain that is no name, or makes the name too long, cannot have it. The root has the name as it is.
        let below = |domain: &String| absolute(&format!("{host}.{}", domain.trim_matches('.'))).ok();
        let is_other = |name: &Name| *name != as_it_is;
        let mut names: Vec<_> = config.search.iter().filter_map(below).filter(is_other).collect();
        let dots = host.bytes().filter(|byte| *byte == b'.').count();
        let place = if dots >= config.ndots as usize { 0 } else { names.len() };
        names.insert(place, as_it_is);
        Ok(names)
    }

    /// Returns the addresses of the first name if they are known.
    fn known_first(&self, reactor: &WeakReactor, names: &[Name], record_type: RecordType) -> Option<Vec<IpAddr>> {
        let known = self.known(reactor, names.first()?, record_type)?;
        known.ok().filter(|found| !found.is_empty())
    }

    /// Returns the addresses of the first name that has some.
    async fn search(&self, reactor: &WeakReactor, names: &[Name], record_type: RecordType) -> Outcome {
        let mut nothing = Err(DnsError::NoSuchName);
        for name in names {
            match self.addresses(reactor, name, record_type).await {
                Ok(found) if found.is_empty() => nothing = Ok(found),
                Err(DnsError::NoSuchName) => {}
                outcome => return outcome,
            }
        }
        nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(config: DnsConfig, host: &str) -> Vec<String> {
        let names = Client::new(config).names(host).unwrap();
        names.iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn dots_decide_whether_the_search_list_is_first() {
        // resolv.conf(5): ndots.
        let config = || DnsConfig::new([]).search(["a.example", "b.example."]);
        assert_eq!(names(config(), "host"), ["host.a.example.", "host.b.example.", "host."]);
        assert_eq!(names(config(), "www.host"), ["www.host.", "www.host.a.example.", "www.host.b.example."]);
        assert_eq!(names(config().ndots(2), "www.host").last().unwrap(), "www.host.");
        assert_eq!(names(config(), "host."), ["host."]);
    }

    #[test]
    fn a_domain_that_makes_no_name_is_left_out() {
        let long = "label.".repeat(42);
        assert_eq!(
            names(DnsConfig::new([]).search([".", "..", &long, "a.example"]), "host"),
            ["host.a.example.", "host."]
        );
    }
}
