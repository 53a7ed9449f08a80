//! Converts the labels of a name: RFC 5890, by the mapping of UTS 46.

use std::borrow::Cow;
use std::io;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

pub(super) fn ascii_form(host: &str) -> io::Result<Cow<'_, str>> {
    // An underscore is allowed, because names of services have it.
    let converted =
        Uts46::new().to_ascii(host.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::VerifyAllowRootDot);
    converted.map_err(|_| {
        let message = "the name has no ASCII form: a label is empty, is longer than 63 bytes in that form, or has a \
                       character that host names cannot have";
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}
