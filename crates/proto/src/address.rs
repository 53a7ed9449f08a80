//! Where a transport or a port is.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The address of one end: IPv4Address, IPv6Address and UNIXAddress in one type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port, with flow label and scope for IPv6.
    Inet(SocketAddr),
    /// A UNIX socket at a path of the file system.
    Unix(Arc<Path>),
    /// A Linux abstract UNIX socket: its name without the leading NUL.
    Abstract(Arc<[u8]>),
    /// A UNIX socket without a name, such as the connecting side usually has.
    Unnamed,
}

impl Address {
    /// The IP address and port, if it has one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
            Address::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("(unnamed)"),
        }
    }
}
