//! Versions of the protocol.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

/// A version of TLS. Older versions are broken, and rustls has none of them.
///
/// ```
/// use ropewalk_tls::Version;
///
/// assert!(Version::Tls12 < Version::Tls13);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

static SINCE_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static SINCE_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// Returns the versions from `oldest` on.
pub(crate) fn since(oldest: Version) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        Version::Tls12 => &SINCE_TLS12,
        Version::Tls13 => &SINCE_TLS13,
    }
}
