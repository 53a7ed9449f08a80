//! Looks names up, one address family at a time.

use std::fmt;
use std::io;
use std::net::SocketAddr;

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod system;

/// The greatest length of a label: RFC 1035, section 2.3.4.
const LONGEST_LABEL: usize = 63;

/// The greatest length of a name as text. As a message has it, it is two bytes longer.
const LONGEST_NAME: usize = 253;

/// One of the two kinds of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// IPv4, A records.
    V4,
    /// IPv6, AAAA records.
    V6,
}

impl IpFamily {
    /// Returns whether `address` is of this family.
    pub fn has(self, address: &SocketAddr) -> bool {
        match self {
            IpFamily::V4 => address.is_ipv4(),
            IpFamily::V6 => address.is_ipv6(),
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpFamily::V4 => "IPv4",
            IpFamily::V6 => "IPv6",
        })
    }
}

/// Returns the addresses of `host` in `family`, each with `port`, in the system's order: getaddrinfo(3).
///
/// Blocks for as long as the system asks name servers. May be called from any thread.
///
/// # Errors
/// The system's error and message, such as that the name does not exist or has no address in `family`.
///
/// ```
/// use ropewalk_sys::{IpFamily, look_up};
///
/// let found = look_up("127.0.0.1", 80, IpFamily::V4)?;
/// assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
/// assert!(IpFamily::V4.has(&found[0]) && !IpFamily::V6.has(&found[0]));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn look_up(host: &str, port: u16, family: IpFamily) -> io::Result<Vec<SocketAddr>> {
    check_name(host)?;
    system::look_up(host, port, family)
}

/// Checks that `host` has a form that name servers can have: RFC 1035, section 2.3.4. A name with letters beyond ASCII
/// has an ASCII form as well: RFC 5890, section 2.3.2.1. getaddrinfo(3) would send the bytes of any name as they are.
///
/// # Errors
/// `InvalidInput` for another name, with a message that says why.
///
/// ```
/// use ropewalk_sys::check_name;
///
/// assert!(check_name("xn--bcher-kva.example.").is_ok());
/// assert!(check_name("b\u{fc}cher.example").unwrap_err().to_string().contains("xn--"));
/// assert_eq!(check_name("www..example").unwrap_err().to_string(), "the name has an empty label: two dots in a row");
/// ```
pub fn check_name(host: &str) -> io::Result<()> {
    fault_of(host).map_or(Ok(()), |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message)))
}

fn fault_of(host: &str) -> Option<&'static str> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let labels = || name.split('.');
    Some(match name {
        _ if !name.is_ascii() => {
            "the name has letters beyond ASCII: use its ASCII form, in which such labels begin with xn--"
        }
        _ if name.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') => {
            "the name has a space or a control character"
        }
        "" => "the name is empty",
        _ if name.starts_with('.') => "the name begins with a dot",
        _ if labels().any(str::is_empty) => "the name has an empty label: two dots in a row",
        _ if labels().any(|label| label.len() > LONGEST_LABEL) => "a label of the name is longer than 63 bytes",
        _ if name.len() > LONGEST_NAME => "the name is longer than 253 bytes",
        _ => return None,
    })
}

/// Returns the number of the zone of a link-local IPv6 address: if_nametoindex(3). `zone` is the name of a network
/// interface of this machine, or a number.
///
/// ```
/// use ropewalk_sys::zone_number;
///
/// assert_eq!(zone_number("7"), Some(7));
/// assert_eq!(zone_number("no such interface"), None);
/// ```
pub fn zone_number(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| system::zone_number(zone))
}

/// Returns whether `error` says that this machine does not have the address family of a socket or address, such as
/// IPv6: EAFNOSUPPORT of socket(2), EADDRNOTAVAIL of bind(2).
///
/// ```
/// use std::io;
/// use ropewalk_sys::is_family_missing;
///
/// assert!(is_family_missing(&io::ErrorKind::AddrNotAvailable.into()));
/// assert!(!is_family_missing(&io::ErrorKind::AddrInUse.into()));
/// ```
pub fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(system::FAMILY_NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_family_is_known_by_the_number_of_the_error() {
        let missing = io::Error::from_raw_os_error(system::FAMILY_NOT_SUPPORTED);
        assert!(is_family_missing(&missing), "{missing}");
    }

    #[test]
    fn a_name_is_looked_up_in_one_family_alone() {
        // A literal address needs no name server.
        for (text, family, other, expected) in
            [("127.0.0.1", IpFamily::V4, IpFamily::V6, "127.0.0.1:80"), ("::1", IpFamily::V6, IpFamily::V4, "[::1]:80")]
        {
            assert_eq!(look_up(text, 80, family).unwrap(), [expected.parse().unwrap()]);
            assert!(look_up(text, 80, other).map_or(true, |found| found.is_empty()), "{text}");
        }
        let found = look_up("localhost", 4711, IpFamily::V4).unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|address| address.is_ipv4() && address.ip().is_loopback() && address.port() == 4711));
    }

    #[test]
    fn the_fault_of_a_name_is_named() {
        let (long_label, long_name) = ("x".repeat(64), ["long"; 51].join("."));
        for (name, fault) in [
            ("a b", "space or a control"),
            ("a\0b", "space or a control"),
            (".", "is empty"),
            (".example", "begins with a dot"),
            ("www..example", "empty label"),
            ("example..", "empty label"),
            (&*long_label, "longer than 63"),
            (&*long_name, "longer than 253"),
        ] {
            let error = check_name(name).unwrap_err();
            assert!(error.to_string().contains(fault), "{name}: {error}");
        }
        for name in ["a_b.example", "example.", &"x".repeat(63), &["long"; 50].join("."), "-", "1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_that_cannot_exist_is_an_error_of_one_line() {
        for name in ["a\0b", &"long".repeat(100)] {
            let error = look_up(name, 80, IpFamily::V4).unwrap_err().to_string();
            assert!(!error.is_empty() && error.lines().count() == 1, "{error:?}");
        }
    }
}
