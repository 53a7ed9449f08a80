//! The reasons why name servers give no address.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

/// The reason why a look-up by a [`DnsResolver`](super::DnsResolver) failed.
///
/// A plain value, which any thread may use.
///
/// ```
/// use ropewalk::names::DnsError;
///
/// /// Returns whether a later look-up may succeed.
/// fn may_retry(error: &DnsError) -> bool {
///     error.is_temporary()
/// }
/// assert!(!may_retry(&DnsError::NoSuchName));
/// assert_eq!(DnsError::NoSuchName.to_string(), "the name does not exist (NXDOMAIN)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsError {
    /// A server has answered that the name does not exist, and neither does it in the search list: `DNSNameError`.
    NoSuchName,
    /// No server has answered the question. The field has the last fault of each server: `DNSServerError`,
    /// `DNSQueryTimeoutError`.
    NoAnswer(Vec<(SocketAddr, ServerFault)>),
    /// The name is an alias of an alias, and so on, without an end. The field is the number of aliases.
    TooManyAliases(usize),
    /// Too many look-ups wait for others. The field is their number, which
    /// [`DnsConfig::waiting`](super::DnsConfig::waiting) sets.
    TooMany(usize),
    /// The name cannot be asked for. The field is the reason.
    InvalidName(String),
}

impl DnsError {
    /// Returns whether the same look-up may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, DnsError::NoAnswer(_) | DnsError::TooMany(_))
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsError::NoSuchName => f.write_str("the name does not exist (NXDOMAIN)"),
            DnsError::NoAnswer(faults) if faults.is_empty() => f.write_str("no name server is configured"),
            DnsError::NoAnswer(faults) => {
                f.write_str("no name server has answered")?;
                for (number, (server, fault)) in faults.iter().enumerate() {
                    write!(f, "{}{server} {fault}", if number == 0 { ": " } else { ", " })?;
                }
                Ok(())
            }
            DnsError::TooManyAliases(count) => write!(f, "the name has more than {count} aliases in a row"),
            DnsError::TooMany(count) => write!(f, "{count} look-ups wait for a name server already"),
            DnsError::InvalidName(why) => write!(f, "the name cannot be looked up: {why}"),
        }
    }
}

impl std::error::Error for DnsError {}

/// The reason why one server gave no answer.
///
/// ```
/// use ropewalk::names::ServerFault;
/// use ropewalk::names::hickory_proto::op::ResponseCode;
///
/// let fault = ServerFault::Code(ResponseCode::ServFail);
/// assert_eq!(fault.to_string(), "reported SERVFAIL");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerFault {
    /// The server has not answered in this time.
    TimedOut(Duration),
    /// The server has answered with an error.
    Code(ResponseCode),
    /// The exchange failed. The field is the reason.
    Failed(String),
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerFault::TimedOut(after) => write!(f, "timed out after {after:?}"),
            ServerFault::Code(code) => write!(f, "reported {}", mnemonic(*code)),
            ServerFault::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Returns the name of a response code in the IANA registry, by which a search engine finds it.
fn mnemonic(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        other => format!("{other} ({})", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_named_with_its_fault() {
        let [one, two] = ["10.0.0.1:53", "[fd00::1]:53"].map(|text| text.parse().unwrap());
        let faults =
            vec![(one, ServerFault::TimedOut(Duration::from_secs(5))), (two, ServerFault::Code(ResponseCode::Refused))];
        let expected = "no name server has answered: 10.0.0.1:53 timed out after 5s, [fd00::1]:53 reported REFUSED";
        assert_eq!(DnsError::NoAnswer(faults).to_string(), expected);
    }
}
