//! The addresses of transports and ports.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::escape::Escaped;

/// The default number of connections that may wait to be accepted.
///
/// A client that finds the queue full tries again after a second. The system may impose a lower limit, such as
/// `net.core.somaxconn` of Linux.
///
/// ```
/// use ropewalk_proto::DEFAULT_BACKLOG;
/// use ropewalk_proto::description::TcpServer;
///
/// assert_eq!(TcpServer::new(8000).backlog, DEFAULT_BACKLOG);
/// ```
pub const DEFAULT_BACKLOG: u32 = 1024;

/// The address of one end of a connection, or of a listening port.
///
/// `Display` shows an IPv4-mapped IPv6 address as an IPv4 address, and escapes the control characters of a name.
///
/// Source: `IPv4Address`, `IPv6Address` and `UNIXAddress` of `twisted.internet.address`.
///
/// A plain value, which any thread may use.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_proto::Address;
///
/// let web = Address::from("192.0.2.1:80".parse::<SocketAddr>()?);
/// assert_eq!(web.inet().map(|inet| inet.port()), Some(80));
/// assert_eq!(web.to_string(), "192.0.2.1:80");
/// let mapped = Address::from("[::ffff:192.0.2.1]:80".parse::<SocketAddr>()?);
/// assert_eq!(mapped.to_string(), "192.0.2.1:80");
/// let local = Address::Unix(std::path::Path::new("/run/web.sock").into());
/// assert_eq!((local.inet(), &local.to_string()[..]), (None, "/run/web.sock"));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port, with flow label and scope for IPv6.
    Inet(SocketAddr),
    /// A UNIX socket with a path.
    Unix(Arc<Path>),
    /// A UNIX socket of Linux with an abstract name, without the leading NUL.
    Abstract(Arc<[u8]>),
    /// A UNIX socket without a name, which is usual for a client.
    Unnamed,
}

impl Address {
    /// Returns the IP address and port, or `None` for a UNIX socket.
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
            // An IPv4 peer of a socket for both families has an IPv4-mapped address: ipv6(7).
            Address::Inet(SocketAddr::V6(mapped)) => match mapped.ip().to_ipv4_mapped() {
                Some(ip) => write!(f, "{ip}:{}", mapped.port()),
                None => mapped.fmt(f),
            },
            Address::Inet(address) => address.fmt(f),
            // The peer chooses its path.
            Address::Unix(path) => Escaped(f).write_str(&path.to_string_lossy()),
            Address::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("(unnamed)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_ipv4_address_is_shown_as_ipv4() {
        let shown = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap()).to_string();
        assert_eq!(shown("[::ffff:192.0.2.1]:80"), "192.0.2.1:80");
        for text in
            ["192.0.2.1:80", "[::1]:80", "[::]:80", "[::192.0.2.1]:80", "[64:ff9b::c000:201]:80", "[fe80::1%3]:80"]
        {
            assert_eq!(shown(text), text.parse::<SocketAddr>().unwrap().to_string());
        }
    }

    #[test]
    fn control_characters_of_a_name_are_escaped() {
        let name = "/tmp/größe\n\u{1b}[2J";
        assert_eq!(Address::Unix(Path::new(name).into()).to_string(), r"/tmp/größe\n\u{1b}[2J");
        assert_eq!(Address::Abstract(name.as_bytes().into()).to_string(), r"@/tmp/gr\xc3\xb6\xc3\x9fe\n\x1b[2J");
    }
}
