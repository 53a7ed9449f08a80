//! The host names of a network and their addresses: a name server that answers at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::interfaces::resolver::ascii_host_name;

/// Names and their addresses. The table begins with `localhost` (RFC 6761).
pub(crate) struct HostNames(HashMap<String, Entry>);

/// The addresses of a name, or the kind and the text of the error of its look-up.
type Entry = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

impl Default for HostNames {
    fn default() -> Self {
        let localhost = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        HostNames(HashMap::from([("localhost".to_owned(), Ok(localhost))]))
    }
}

impl HostNames {
    /// Resolves `name` to `addresses` from now on, best first.
    pub(crate) fn add(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.0.insert(canonical(name), Ok(addresses));
    }

    /// Makes look-ups of `name` fail with `error`.
    pub(crate) fn fail(&mut self, name: &str, error: &io::Error) {
        self.0.insert(canonical(name), Err((error.kind(), error.to_string())));
    }

    /// Returns the addresses of `name`, or an empty list for an unknown name.
    pub(super) fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match self.0.get(&canonical(name)) {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            Some(Err((kind, text))) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(Vec::new()),
        }
    }
}

/// Returns the form of `name` in the table. As in the DNS, capitals and the dot of the root make no difference: RFC
/// 1034, section 3.1. A name with letters beyond ASCII has its ASCII form, if it has one.
fn canonical(name: &str) -> String {
    let name = ascii_host_name(name).unwrap_or(Cow::Borrowed(name));
    name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase()
}
