//! The errors of handshakes, in words that a person can act on.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::certificate::{Described, date};
use crate::notes::Notes;

/// A reason for the end of a TLS connection.
///
/// The reason of a lost connection has it as a source: follow [`source`](std::error::Error::source) and downcast.
///
/// ```
/// use ropewalk_tls::{ServerOptions, TlsError, TlsServer};
///
/// let error = TlsServer::new(ServerOptions::new()).unwrap_err();
/// assert_eq!(error.to_string(), "a TLS server needs at least one certificate with its key");
/// assert!(matches!(error, TlsError::Configuration(_)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate, a key or an option cannot be used. The text says why.
    Configuration(String),
    /// The certificate of the peer was refused. The text has the certificate, the fault, and what was expected.
    Certificate(String),
    /// The peer sent an alert. The text says what it refused, as far as an alert can.
    Alert(AlertDescription),
    /// The peer does not speak TLS. The text has its first bytes.
    NotTls(String),
    /// The stream ended without the alert close_notify, so bytes may be missing.
    Truncated,
    /// The peer closed the connection during the handshake.
    ClosedInHandshake,
    /// The two sides have no application protocol in common. The first list is that of the peer.
    NoApplicationProtocol(Vec<String>, Vec<String>),
    /// The client asked for a name for which the server has no certificate.
    NoCertificateFor(String),
    /// The configuration for a connection was not chosen. The text says why.
    NotChosen(String),
    /// The peer broke a rule of the protocol, or the two sides have no version or cipher suite in common.
    Protocol(Error),
}

impl TlsError {
    /// Returns the error of a call into rustls that left `notes`.
    pub(crate) fn of(error: Error, notes: &Notes) -> TlsError {
        match error {
            Error::InvalidCertificate(fault) => TlsError::Certificate(refusal(&fault, notes)),
            Error::NoCertificatesPresented => {
                TlsError::Certificate("the peer has sent no certificate, and one is required".to_owned())
            }
            Error::AlertReceived(alert) => TlsError::Alert(alert),
            Error::General(_) | Error::PeerIncompatible(_) if notes.unknown_name.is_some() => {
                TlsError::NoCertificateFor(notes.unknown_name.clone().unwrap_or_default())
            }
            other => TlsError::Protocol(other),
        }
    }

    /// Returns the error as an I/O error, whose source it is.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match self {
            TlsError::Truncated | TlsError::ClosedInHandshake => io::ErrorKind::UnexpectedEof,
            TlsError::Alert(_) => io::ErrorKind::ConnectionAborted,
            TlsError::Configuration(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        error.into_io()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Configuration(text) | TlsError::Certificate(text) | TlsError::NotChosen(text) => {
                f.write_str(text)
            }
            TlsError::Alert(alert) => write!(f, "the peer has refused the connection: {}", alert_in_words(*alert)),
            TlsError::NotTls(text) => write!(f, "the peer does not speak TLS: {text}"),
            TlsError::Truncated => f.write_str("the stream ended without close_notify, so bytes may be missing"),
            TlsError::ClosedInHandshake => f.write_str("the peer closed the connection during the handshake"),
            TlsError::NoApplicationProtocol(theirs, ours) => {
                let theirs = if theirs.is_empty() { "none".to_owned() } else { theirs.join(", ") };
                write!(
                    f,
                    "no common application protocol: the peer offers {theirs}, expected one of {}",
                    ours.join(", ")
                )
            }
            TlsError::NoCertificateFor(name) => {
                write!(f, "no certificate for the name {name:?} that the client asks for")
            }
            TlsError::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Protocol(error) => Some(error),
            _ => None,
        }
    }
}

/// Describes the refused certificate, the fault, and what was expected.
fn refusal(fault: &CertificateError, notes: &Notes) -> String {
    let certificate = notes.refused.first().map(|certificate| Described::of(certificate));
    let Some(certificate) = certificate else { return format!("the certificate of the peer is refused: {fault}") };
    let reason = match fault {
        CertificateError::UnknownIssuer => {
            let top = notes.refused.last().map(|certificate| Described::of(certificate));
            let issuer = top.map_or_else(|| certificate.issuer.clone(), |top| top.issuer);
            if certificate.is_self_signed() {
                "it is self-signed and not among the trusted certificates".to_owned()
            } else {
                format!("its issuer ({issuer}) is not a trusted authority")
            }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it has expired on {}, and today is {}", date(*not_after), date(*time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it is not valid before {}, and today is {}", date(*not_before), date(*time))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let presented = if presented.is_empty() { "no names".to_owned() } else { presented.join(", ") };
            format!("it is for {presented}, expected {}", expected.to_str())
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is the certificate of an authority, expected one with basicConstraints=CA:FALSE".to_owned()
        }
        other => other.to_string(),
    };
    format!("the certificate of the peer is refused: {reason}; certificate: {certificate}")
}

/// Returns a name as rustls shows it, such as `DnsName("localhost")`, without its kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

/// Describes an alert. Source: RFC 8446, section 6.2.
fn alert_in_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::BadCertificate => "it does not accept our certificate",
        AlertDescription::UnsupportedCertificate => "it does not support the kind of our certificate",
        AlertDescription::CertificateRevoked => "our certificate is revoked",
        AlertDescription::CertificateExpired => "our certificate has expired, or is not valid yet",
        AlertDescription::CertificateUnknown => "it does not accept our certificate for a reason of its own",
        AlertDescription::CertificateRequired => "it requires a certificate of ours, and got none",
        AlertDescription::UnknownCA => "it does not trust the issuer of our certificate",
        AlertDescription::AccessDenied => "it denies access",
        AlertDescription::HandshakeFailure => "the two sides have no cipher suite, key exchange or signature in common",
        AlertDescription::ProtocolVersion => "it does not support our versions of TLS, which are 1.2 and 1.3",
        AlertDescription::NoApplicationProtocol => "it supports none of our application protocols",
        AlertDescription::UnrecognisedName => "it does not know the name that we asked for",
        AlertDescription::DecodeError | AlertDescription::UnexpectedMessage | AlertDescription::RecordOverflow => {
            "it cannot read what it received"
        }
        AlertDescription::DecryptError | AlertDescription::BadRecordMac => "it cannot decrypt what it received",
        AlertDescription::InternalError => "it has an internal error",
        _ => return format!("alert {alert:?}"),
    };
    format!("{words} (alert {alert:?})")
}
