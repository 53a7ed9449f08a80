//! The servers to ask, and the bounds of a resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use resolv_conf::{Config, ScopedIp};
use ropewalk_sys::zone_number;

/// The port of name servers: RFC 1035, section 4.2.
const PORT: u16 = 53;

/// The largest values that the C library accepts: resolv.conf(5).
const LONGEST_TIMEOUT: u32 = 30;
const MOST_ATTEMPTS: u32 = 5;
const MOST_NDOTS: u32 = 15;

/// The name servers that a [`DnsResolver`](super::DnsResolver) asks, and its bounds.
///
/// A plain value, which any thread may use.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::names::DnsConfig;
///
/// let by_file = DnsConfig::from_resolv_conf("nameserver 10.0.0.53\nsearch example.org\noptions timeout:1\n");
/// assert_eq!(by_file.servers(), ["10.0.0.53:53".parse().unwrap()]);
///
/// let server = "10.0.0.53:5353".parse().unwrap();
/// let by_hand = DnsConfig::new([server]).timeout(Duration::from_secs(2)).attempts(3).rotate();
/// let by_hand = by_hand.search(["example.org", "example.com"]).ndots(2).cache_entries(100);
/// let by_hand = by_hand.concurrent(16).waiting(1000);
/// let by_tcp = by_hand.clone().tcp_only();
/// # let _ = (by_hand, by_tcp);
/// ```
#[derive(Clone, Debug)]
pub struct DnsConfig {
    servers: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    pub(super) is_rotating: bool,
    pub(super) is_tcp_only: bool,
    pub(super) search: Vec<String>,
    pub(super) ndots: u32,
    pub(super) cache_entries: usize,
    pub(super) concurrent: usize,
    pub(super) waiting: usize,
}

impl DnsConfig {
    /// Creates a configuration with `servers`, in the order in which they are asked. The default bounds are those of
    /// the methods below.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> DnsConfig {
        DnsConfig {
            servers: servers.into_iter().collect(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            is_rotating: false,
            is_tcp_only: false,
            search: Vec::new(),
            ndots: 1,
            cache_entries: 1024,
            concurrent: 64,
            waiting: 4096,
        }
    }

    /// Creates a configuration from the text of a file such as `/etc/resolv.conf`: resolv.conf(5).
    ///
    /// Servers, search list, `timeout`, `attempts`, `ndots`, `rotate` and `use-vc` are taken. As in the C library, other
    /// lines and options do nothing, large numbers are reduced, and a file without servers means a server on this
    /// machine.
    ///
    /// ```
    /// use ropewalk::names::DnsConfig;
    ///
    /// let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    /// assert!(!DnsConfig::from_resolv_conf(&text).servers().is_empty());
    /// ```
    pub fn from_resolv_conf(text: &str) -> DnsConfig {
        let (file, faults) = Config::parse_with_errors(text.as_bytes());
        for fault in faults {
            tracing::debug!(%fault, "ignored a line of the resolver configuration");
        }
        let mut servers: Vec<_> = file.nameservers.iter().filter_map(server).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        DnsConfig {
            timeout: Duration::from_secs(file.timeout.clamp(1, LONGEST_TIMEOUT).into()),
            attempts: file.attempts.clamp(1, MOST_ATTEMPTS),
            is_rotating: file.rotate,
            is_tcp_only: file.use_vc,
            search: file.get_last_search_or_domain().map(ToString::to_string).collect(),
            ndots: file.ndots.min(MOST_NDOTS),
            ..DnsConfig::new(servers)
        }
    }

    /// Returns the servers, in the order in which they are asked.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Sets the time that one server has for one answer. 5 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> DnsConfig {
        self.timeout = timeout;
        self
    }

    /// Sets the number of rounds in which all servers are asked, at least one. 2 by default.
    #[must_use]
    pub fn attempts(mut self, rounds: u32) -> DnsConfig {
        self.attempts = rounds.max(1);
        self
    }

    /// Begins each question with the next server, so that all servers share the load.
    #[must_use]
    pub fn rotate(mut self) -> DnsConfig {
        self.is_rotating = true;
        self
    }

    /// Asks over TCP alone. By default UDP is used, and TCP for answers that do not fit into a datagram.
    #[must_use]
    pub fn tcp_only(mut self) -> DnsConfig {
        self.is_tcp_only = true;
        self
    }

    /// Sets the domains in which a short name is looked up. None by default.
    #[must_use]
    pub fn search<D: Into<String>>(mut self, domains: impl IntoIterator<Item = D>) -> DnsConfig {
        self.search = domains.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the number of dots with which a name is looked up as it is first, and in the search list after that. With
    /// fewer dots the search list is first. 1 by default.
    #[must_use]
    pub fn ndots(mut self, dots: u32) -> DnsConfig {
        self.ndots = dots;
        self
    }

    /// Sets the number of answers that are kept until they expire. 1024 by default. 0 keeps none.
    #[must_use]
    pub fn cache_entries(mut self, entries: usize) -> DnsConfig {
        self.cache_entries = entries;
        self
    }

    /// Sets the number of look-ups that ask servers at the same time, each with a socket, at least one. 64 by default.
    #[must_use]
    pub fn concurrent(mut self, lookups: usize) -> DnsConfig {
        self.concurrent = lookups.max(1);
        self
    }

    /// Sets the number of look-ups that wait until others are over. A further look-up fails with
    /// [`DnsError::TooMany`](super::DnsError::TooMany). 4096 by default.
    #[must_use]
    pub fn waiting(mut self, lookups: usize) -> DnsConfig {
        self.waiting = lookups;
        self
    }
}

/// Returns the address of a server, or `None` if its zone does not exist on this machine.
fn server(address: &ScopedIp) -> Option<SocketAddr> {
    match address {
        ScopedIp::V6(ip, Some(zone)) => Some(SocketAddrV6::new(*ip, PORT, 0, zone_number(zone)?).into()),
        address => Some((IpAddr::from(address), PORT).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DnsConfig {
        DnsConfig::from_resolv_conf(text)
    }

    #[test]
    fn servers_keep_their_order_with_the_zones() {
        let servers = parse("# two\nnameserver 10.0.0.1\nnameserver fe80::1%7\nnameserver fe80::1%none").servers;
        assert_eq!(servers, ["10.0.0.1:53".parse().unwrap(), "[fe80::1%7]:53".parse().unwrap()]);
    }

    #[test]
    fn a_file_without_servers_means_this_machine() {
        for text in ["", "search example.org", "nameserver", "nameserver ::::"] {
            assert_eq!(parse(text).servers, ["127.0.0.1:53".parse().unwrap()], "{text}");
        }
    }

    #[test]
    fn options_are_bounded_as_in_the_c_library() {
        let config = parse("options timeout:999 attempts:999 ndots:999 rotate use-vc unheard-of\nnonsense");
        assert_eq!((config.timeout, config.attempts, config.ndots), (Duration::from_secs(30), 5, 15));
        assert!(config.is_rotating && config.is_tcp_only);
        let config = parse("options timeout:0 attempts:0");
        assert_eq!((config.timeout, config.attempts), (Duration::from_secs(1), 1));
    }

    #[test]
    fn the_last_domain_or_search_list_counts() {
        assert_eq!(parse("domain a.example\nsearch b.example c.example").search, ["b.example", "c.example"]);
        assert_eq!(parse("search b.example c.example\ndomain a.example").search, ["a.example"]);
    }
}
