//! The addresses that a datagram socket sends to, and IPv4 addresses on a socket for both families.
//!
//! The check is made before the system call. On a wrong family the system's own errors differ, such as ENETUNREACH for
//! an IPv4 address on a socket that is for IPv6 only.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ropewalk_proto::Address;
use rustix::net::SocketAddrAny;

use crate::seam::FamilyError;
use crate::socket::address;

/// The addresses that a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6Only,
    /// An IPv6 socket that also has IPv4, whose addresses it sees in their mapped form: ipv6(7).
    Dual,
    Unix,
}

impl Family {
    pub(super) fn is_inet(self) -> bool {
        self != Family::Unix
    }

    pub(super) fn has_v4(self) -> bool {
        matches!(self, Family::V4 | Family::Dual)
    }

    pub(super) fn has_v6(self) -> bool {
        matches!(self, Family::V6Only | Family::Dual)
    }

    /// Encodes a destination for this socket.
    ///
    /// # Errors
    /// A [`FamilyError`] for an address of another family.
    pub(super) fn destination(self, to: &Address) -> io::Result<SocketAddrAny> {
        match (self, to) {
            (Family::Unix, Address::Unix(_) | Address::Abstract(_)) => address::encode(to),
            (Family::V4 | Family::V6Only | Family::Dual, Address::Inet(inet)) => self.inet(*inet),
            _ => Err(self.error(to.clone())),
        }
    }

    fn inet(self, to: SocketAddr) -> io::Result<SocketAddrAny> {
        match (self, unmapped(to)) {
            (Family::V4, SocketAddr::V4(v4)) => Ok(v4.into()),
            (Family::Dual, SocketAddr::V4(v4)) => {
                Ok(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
            }
            (Family::V6Only | Family::Dual, SocketAddr::V6(v6)) => Ok(v6.into()),
            (_, other) => Err(self.error(other.into())),
        }
    }

    pub(super) fn error(self, address: Address) -> io::Error {
        let expected = match self {
            Family::V4 => "an IPv4 address",
            Family::V6Only => "an IPv6 address",
            Family::Dual => "an IPv4 or IPv6 address",
            Family::Unix => "the name of a UNIX socket",
        };
        FamilyError { address, expected }.into()
    }
}

/// Returns an IPv4-mapped address in its plain form, and any other address as it is.
#[inline]
pub(super) fn plain(address: Address) -> Address {
    match address {
        Address::Inet(inet) => Address::Inet(unmapped(inet)),
        other => other,
    }
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Returns the address of a group or a source in its plain form.
pub(super) fn plain_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Returns whether a socket that is bound to `ip` also has IPv4, unless it is for IPv6 only.
pub(super) fn is_dual(ip: &Ipv6Addr) -> bool {
    ip.is_unspecified() || ip.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_to(family: Family, to: &str) -> Result<String, String> {
        let encoded = family.destination(&to.parse::<SocketAddr>().unwrap().into());
        let encoded = encoded.map_err(|error| error.to_string())?;
        Ok(SocketAddr::try_from(encoded).unwrap().to_string())
    }

    #[test]
    fn an_ipv4_address_is_mapped_on_a_socket_of_both_families() {
        for to in ["192.0.2.1:53", "[::ffff:192.0.2.1]:53"] {
            assert_eq!(sent_to(Family::Dual, to).unwrap(), "[::ffff:192.0.2.1]:53");
            assert_eq!(sent_to(Family::V4, to).unwrap(), "192.0.2.1:53");
        }
        assert_eq!(sent_to(Family::Dual, "[2001:db8::1]:53").unwrap(), "[2001:db8::1]:53");
    }

    #[test]
    fn an_address_of_another_family_is_refused_with_its_name() {
        for (family, to, expected) in [
            (Family::V4, "[2001:db8::1]:53", "expected an IPv4 address"),
            (Family::V6Only, "192.0.2.1:53", "expected an IPv6 address"),
            (Family::V6Only, "[::ffff:192.0.2.1]:53", "expected an IPv6 address"),
            (Family::Unix, "192.0.2.1:53", "expected the name of a UNIX socket"),
        ] {
            let error = sent_to(family, to).unwrap_err();
            assert!(error.contains("family") && error.ends_with(expected), "{error}");
        }
        assert!(Family::V4.destination(&Address::Unnamed).is_err());
        assert!(Family::Unix.destination(&Address::Unnamed).is_err());
    }
}
