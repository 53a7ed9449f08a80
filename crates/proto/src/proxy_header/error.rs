//! The errors of a header.

use std::fmt;

/// The stream does not begin with a valid header of the PROXY protocol.
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
    /// The first bytes are not those of a header.
    NoHeader,
    /// A text header does not end within 107 bytes.
    TooLong,
    /// A text header does not end with `\r\n`, or contains another carriage return.
    LineEnd,
    /// The protocol of a text header is not `TCP4`, `TCP6` or `UNKNOWN`.
    Protocol,
    /// A text header does not have exactly two addresses and two ports, separated by single spaces.
    Fields,
    /// An address of a text header does not match its protocol.
    Address,
    /// A port of a text header is not a number from 0 to 65535 without leading zeros.
    Port,
    /// The version of a binary header is not 2. The field is the version found.
    Version(u8),
    /// The command of a binary header is neither LOCAL nor PROXY. The field is the command found.
    Command(u8),
    /// The address family or the transport protocol of a binary header is unknown. The field is the byte found.
    Family(u8),
    /// A binary header is for datagrams, but arrived on a stream. The field is the byte of family and protocol.
    Datagram(u8),
    /// A binary header is too short for the addresses of its family. The field is the length found.
    Length(u16),
    /// An extension (TLV) of a binary header ends beyond the header.
    Extension,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyHeaderError::NoHeader => f.write_str("the connection does not begin with a PROXY protocol header"),
            ProxyHeaderError::TooLong => f.write_str("text PROXY header longer than 107 bytes"),
            ProxyHeaderError::LineEnd => f.write_str(r"invalid end of a text PROXY header: expected \r\n"),
            ProxyHeaderError::Protocol => {
                f.write_str("unknown protocol in a text PROXY header: expected TCP4, TCP6 or UNKNOWN")
            }
            ProxyHeaderError::Fields => f.write_str(
                "wrong number of fields in a text PROXY header: expected two addresses and two ports, separated by \
                 single spaces",
            ),
            ProxyHeaderError::Address => {
                f.write_str("invalid address in a text PROXY header: expected one of its protocol")
            }
            ProxyHeaderError::Port => {
                f.write_str("invalid port in a text PROXY header: expected a number from 0 to 65535")
            }
            ProxyHeaderError::Version(found) => {
                write!(f, "unknown version {found} of a binary PROXY header: expected 2")
            }
            ProxyHeaderError::Command(found) => {
                write!(f, "unknown command {found} in a binary PROXY header: expected 0 (LOCAL) or 1 (PROXY)")
            }
            ProxyHeaderError::Family(found) => {
                write!(f, "unknown address family or protocol {found:#04x} in a binary PROXY header")
            }
            ProxyHeaderError::Datagram(found) => {
                write!(f, "binary PROXY header for datagrams ({found:#04x}) on a stream: expected a stream protocol")
            }
            ProxyHeaderError::Extension => {
                f.write_str("an extension (TLV) of a binary PROXY header ends beyond the header")
            }
            ProxyHeaderError::Length(found) => {
                write!(f, "binary PROXY header of {found} bytes is too short for the addresses of its family")
            }
        }
    }
}

impl std::error::Error for ProxyHeaderError {}
