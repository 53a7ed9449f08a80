//! A certificate in words.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

/// The parts of a certificate that error messages name.
pub(crate) struct Described {
    subject: String,
    pub(crate) issuer: String,
    validity: Option<(String, String)>,
}

impl Described {
    /// Describes a certificate, which may have any content.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Described {
        let unreadable =
            || Described { subject: "unreadable".to_owned(), issuer: "unknown".to_owned(), validity: None };
        let Ok(parsed) = Certificate::from_der(certificate) else { return unreadable() };
        let fields = parsed.tbs_certificate;
        let day = |time: x509_cert::time::Time| date(UnixTime::since_unix_epoch(time.to_unix_duration()));
        Described {
            subject: name(&fields.subject),
            issuer: name(&fields.issuer),
            validity: Some((day(fields.validity.not_before), day(fields.validity.not_after))),
        }
    }

    pub(crate) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// The longest name that is shown. A peer chooses the name.
const NAME_MOST: usize = 200;

fn name(name: &x509_cert::name::Name) -> String {
    let text = name.to_string();
    if text.is_empty() {
        return "no name".to_owned();
    }
    text.chars().take(NAME_MOST).flat_map(char::escape_debug).collect()
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, issued by {}", self.subject, self.issuer)?;
        match &self.validity {
            Some((from, to)) => write!(f, ", valid from {from} to {to}"),
            None => Ok(()),
        }
    }
}

/// Returns the day and time of `time` in UTC, as RFC 3339 writes them.
pub(crate) fn date(time: UnixTime) -> String {
    match DateTime::from_unix_duration(Duration::from_secs(time.as_secs())) {
        Ok(date) => date.to_string(),
        Err(_) => format!("{} s after 1970", time.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_rfc_3339_does() {
        assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))), "2027-01-15T08:00:00Z");
        assert!(date(UnixTime::since_unix_epoch(Duration::MAX)).contains("after 1970"));
    }

    #[test]
    fn a_certificate_that_is_not_one_is_described() {
        assert_eq!(Described::of(&CertificateDer::from(&b"no"[..])).to_string(), "unreadable, issued by unknown");
    }
}
