//! What is wrong with a header.

use std::fmt;

/// The stream does not begin with a header of the PROXY protocol.
///
/// ```
/// use ropewalk_proto::proxy_header::{ProxyHeaderError, ProxyHeaderParser};
///
/// let error = ProxyHeaderParser::new().parse(&mut &b"GET / HTTP/1.1\r\n"[..]).unwrap_err();
/// assert!(matches!(error, ProxyHeaderError::NoHeader), "{error}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// It begins otherwise.
    NoHeader,
    /// A text header has no end within 107 bytes.
    TooLong,
    /// A text header does not end with a carriage return and a line feed, or has one of them inside.
    LineEnd,
    /// A text header names another protocol than `TCP4`, `TCP6` and `UNKNOWN`.
    Protocol,
    /// A text header has fewer or more than two addresses and two ports, with one space between them.
    Fields,
    /// An address of a text header is not one of its protocol.
    Address,
    /// A port of a text header is not a number from 0 to 65535 without leading zeros.
    Port,
    /// A binary header is of another version than 2; the field is what was found.
    Version(u8),
    /// A binary header has another command than LOCAL and PROXY.
    Command(u8),
    /// A binary header has an address family or a transport protocol that does not exist.
    Family(u8),
    /// A binary header is too short for the addresses of its family; the field is its length.
    Length(u16),
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyHeaderError::NoHeader => f.write_str("the connection does not begin with a PROXY protocol header"),
            ProxyHeaderError::TooLong => f.write_str("a PROXY header has no end within 107 bytes"),
            ProxyHeaderError::LineEnd => f.write_str(r"a PROXY header does not end with \r\n alone"),
            ProxyHeaderError::Protocol => {
                f.write_str("a PROXY header names another protocol than TCP4, TCP6 and UNKNOWN")
            }
            ProxyHeaderError::Fields => {
                f.write_str("a PROXY header has not two addresses and two ports with one space between them")
            }
            ProxyHeaderError::Address => f.write_str("an address in a PROXY header is none of its protocol"),
            ProxyHeaderError::Port => f.write_str("a port in a PROXY header is no number from 0 to 65535"),
            ProxyHeaderError::Version(found) => {
                write!(f, "a binary PROXY header has version {found}, but 2 was expected")
            }
            ProxyHeaderError::Command(found) => {
                write!(f, "a binary PROXY header has command {found}, but 0 (LOCAL) or 1 (PROXY) was expected")
            }
            ProxyHeaderError::Family(found) => {
                write!(f, "a binary PROXY header has the unknown address family and protocol {found:#04x}")
            }
            ProxyHeaderError::Length(found) => {
                write!(f, "a binary PROXY header of {found} bytes is too short for the addresses of its family")
            }
        }
    }
}

impl std::error::Error for ProxyHeaderError {}
