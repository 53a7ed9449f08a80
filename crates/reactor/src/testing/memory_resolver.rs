//! The names of a simulated network, in a table: SynchronousResolver.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ropewalk_proto::{Deferred, succeed};

use crate::interfaces::resolver::HostnameResolver;
use crate::kernel::Reactor;

/// Names and their addresses. The table begins with `localhost` (RFC 6761).
pub(super) struct MemoryResolver(RefCell<HashMap<String, Vec<IpAddr>>>);

impl Default for MemoryResolver {
    fn default() -> Self {
        let localhost = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        MemoryResolver(RefCell::new(HashMap::from([("localhost".to_owned(), localhost)])))
    }
}

impl MemoryResolver {
    /// Resolves `name` to `addresses` from now on, best first.
    pub(super) fn add(&self, name: &str, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("'{text}' is not an IP address"));
        self.0.borrow_mut().insert(name.to_owned(), addresses.iter().map(parse).collect());
    }
}

impl HostnameResolver for MemoryResolver {
    fn resolve_host_name(&self, _reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let addresses = self.0.borrow().get(host).cloned().unwrap_or_default();
        succeed(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }
}
