//! Checks the parts of a request head that hyper accepts in any form: hosts and transfer codings.

use std::net::Ipv6Addr;

use hyper::Version;
use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;

/// The reason why a request head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// The head violates the grammar. The field says how.
    Malformed(&'static str),
    /// The body has a transfer coding other than chunked.
    UnknownCoding,
}

/// Checks the host of the target, the `Host` field and the transfer codings.
pub(super) fn check(request: &Parts) -> Result<(), BadHead> {
    if request.uri.authority().is_some_and(|authority| !is_host(authority.as_str())) {
        return Err(BadHead::Malformed("the host in the target is not a valid host"));
    }
    check_host(request)?;
    check_codings(request)
}

/// RFC 9112, section 3.2: the `Host` field is empty if the target has no host.
fn check_host(request: &Parts) -> Result<(), BadHead> {
    let mut hosts = request.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version == Version::HTTP_11 => Err(BadHead::Malformed("the request has no Host field")),
        (_, Some(_)) => Err(BadHead::Malformed("the request has several Host fields")),
        (Some(host), None) if !host.is_empty() && !host.to_str().is_ok_and(is_host) => {
            Err(BadHead::Malformed("the Host field is not a valid host"))
        }
        // RFC 9113, section 8.3.1.
        (Some(host), None) if request.version == Version::HTTP_2 && !is_authority(request, host) => {
            Err(BadHead::Malformed("the Host field differs from :authority"))
        }
        _ => Ok(()),
    }
}

/// Returns whether the request names no other host than `host`.
fn is_authority(request: &Parts, host: &HeaderValue) -> bool {
    let authority = request.uri.authority();
    authority.is_none_or(|authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
}

/// RFC 9112, section 6.1. hyper decodes the chunks. If the chunks contain another coding, the service would have to
/// decode it.
fn check_codings(request: &Parts) -> Result<(), BadHead> {
    let mut fields = request.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |field: &HeaderValue| field.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (fields.next(), fields.next()) {
        (None, _) => Ok(()),
        (Some(field), None) if is_chunked(field) => Ok(()),
        _ => Err(BadHead::UnknownCoding),
    }
}

/// Returns whether `text` is a host with an optional port, without user information: RFC 3986, section 3.2.
fn is_host(text: &str) -> bool {
    let (is_valid, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((literal, port)) => (literal.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (is_registered_name(&text[..end]), &text[end..])
        }
    };
    is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Returns whether `text` consists of the characters of a name or an IPv4 address, and of encoded bytes such as `%C3`.
fn is_registered_name(text: &str) -> bool {
    let mut parts = text.split('%');
    let is_plain =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte));
    let is_encoded = |part: &str| {
        part.split_at_checked(2)
            .is_some_and(|(digits, rest)| digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && is_plain(rest))
    };
    !text.is_empty() && parts.next().is_some_and(is_plain) && parts.all(is_encoded)
}

/// Returns whether `digits` is a port of TCP, or empty, which means the default port.
fn is_port(digits: &str) -> bool {
    digits.is_empty() || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_or_address_without_a_user() {
        for host in ["a", "a.example:80", "a:", "10.0.0.1:8080", "[::1]", "[::1]:80", "a_b~!$&'()*+,;=", "b%C3%BCcher"]
        {
            assert!(is_host(host), "{host}");
        }
        let wrong = [
            "",
            ":80",
            "u@h",
            "u:p@h",
            "a@",
            "a b",
            "a/b",
            "a:b",
            "a:65536",
            "a:+1",
            "a:80:80",
            "::1",
            "[::1",
            "[]",
            "[::1]x",
            "[10.0.0.1]",
            "a%",
            "a%2",
            "a%zz",
            "a%+1",
            "bücher",
            "a\\b",
            "a?b",
            "a#b",
            "a\"b",
        ];
        for host in wrong {
            assert!(!is_host(host), "{host}");
        }
    }
}
