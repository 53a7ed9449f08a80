//! IReactorPluggableNameResolver: from names to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use ropewalk_proto::{Deferred, succeed};

use crate::error::Error;
use crate::reactor::Reactor;

/// Resolves host names: IHostnameResolver.
pub trait HostnameResolver {
    /// The addresses of `host`, each with `port`, best first; none is an empty list.
    ///
    /// `host` is never an IP address and never empty: those are not asked for.
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>>;
}

/// Asks the operating system, getaddrinfo(3), in a thread of the reactor's pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadedResolver;

impl HostnameResolver for ThreadedResolver {
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let host = host.to_owned();
        let addresses = reactor.defer_to_thread(move || (&*host, port).to_socket_addrs().map(Vec::from_iter));
        addresses.and_then(|found: io::Result<Vec<SocketAddr>>| found)
    }
}

impl Reactor {
    /// The addresses of `host`, a name or an IP address, each with `port`: `resolve` and `resolveHostName`.
    ///
    /// The empty name is the unspecified address, `0.0.0.0`. The Deferred fails when the resolver does; a name without
    /// addresses gives an empty list.
    pub fn resolve_host_name(&self, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if host.is_empty() {
            return succeed(vec![(Ipv4Addr::UNSPECIFIED, port).into()]);
        }
        if let Some(address) = literal(host, port) {
            return succeed(vec![address]);
        }
        let resolver = self.0.resolver.borrow().clone();
        resolver.resolve_host_name(self, host, port)
    }

    /// Replaces the resolver, and returns the one before: `installNameResolver`.
    pub fn install_name_resolver(&self, resolver: Rc<dyn HostnameResolver>) -> Rc<dyn HostnameResolver> {
        self.0.resolver.replace(resolver)
    }
}

/// `host` as an IP address: `127.0.0.1`, `::1`, or with a numeric scope `fe80::1%2`.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, scope) = host.split_once('%')?;
    let scope = scope.parse().ok()?;
    Some(std::net::SocketAddrV6::new(ip.parse().ok()?, port, 0, scope).into())
}

/// Splits `host:port` or `[v6]:port`.
pub(crate) fn split_host_port(text: &str) -> Result<(&str, u16), Error> {
    const EXPECTED: &str = "HOST:PORT, IPV4:PORT or [IPV6]:PORT with a port from 0 to 65535";
    let invalid = || Error::invalid_address(text, EXPECTED);
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
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
    fn a_host_and_port_are_split_at_the_last_colon_and_brackets_go() {
        assert_eq!(split_host_port("example.org:80").unwrap(), ("example.org", 80));
        assert_eq!(split_host_port("[::1]:80").unwrap(), ("::1", 80));
        assert_eq!(split_host_port(":80").unwrap(), ("", 80));
    }

    #[test]
    fn a_bare_ipv6_address_or_a_bad_port_says_what_was_expected() {
        for text in ["::1:80", "example.org", "example.org:", "example.org:65536", "example.org:http"] {
            let error = split_host_port(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn a_scoped_address_is_a_literal() {
        assert_eq!(literal("fe80::1%2", 9).unwrap().to_string(), "[fe80::1%2]:9");
        assert_eq!(literal("example.org", 9), None);
    }
}
