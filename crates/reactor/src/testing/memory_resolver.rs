//! A table with the names of a simulated network: SynchronousResolver.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ropewalk_proto::{Deferred, fail, succeed};
use ropewalk_sys::check_name;

use crate::interfaces::resolver::HostnameResolver;
use crate::kernel::Reactor;

/// Names and their addresses. The table begins with `localhost` (RFC 6761).
pub(super) struct MemoryResolver(RefCell<HashMap<String, Entry>>);

/// The addresses of a name, or the kind and the text of the error of its look-up.
type Entry = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

impl Default for MemoryResolver {
    fn default() -> Self {
        let localhost = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        MemoryResolver(RefCell::new(HashMap::from([("localhost".to_owned(), Ok(localhost))])))
    }
}

impl MemoryResolver {
    /// Resolves `name` to `addresses` from now on, best first.
    pub(super) fn add(&self, name: &str, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("'{text}' is not an IP address"));
        self.0.borrow_mut().insert(canonical(name), Ok(addresses.iter().map(parse).collect()));
    }

    /// Makes look-ups of `name` fail with `error`.
    pub(super) fn fail(&self, name: &str, error: &io::Error) {
        self.0.borrow_mut().insert(canonical(name), Err((error.kind(), error.to_string())));
    }
}

/// Returns the form of `name` in the table. As in the DNS, capitals and the dot of the root make no difference: RFC 1034,
/// section 3.1.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl HostnameResolver for MemoryResolver {
    fn resolve_host_name(&self, _reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if let Err(error) = check_name(host) {
            return fail(error);
        }
        match self.0.borrow().get(&canonical(host)).cloned().unwrap_or_else(|| Ok(Vec::new())) {
            Ok(addresses) => succeed(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
            Err((kind, text)) => fail(io::Error::new(kind, text)),
        }
    }
}
