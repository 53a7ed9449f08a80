//! The name of a server: what a client expects, and what a certificate is for.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

use crate::error::TlsError;

/// Returns the name that the certificate of `host` must have.
///
/// A final dot is not part of the name. An IP address is expected as such, and is not sent to the server.
///
/// Source: RFC 6066, section 3; RFC 9525.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    // The zone is a matter of this machine.
    let without_zone = bare.split('%').next().unwrap_or(bare);
    if let Ok(address) = without_zone.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    let name = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(name.to_owned()).map_err(|_| {
        let expected = "expected the name or the address in the server's certificate";
        TlsError::Configuration(format!("invalid server name {host:?}: {expected}"))
    })
}

/// Returns whether a certificate for `pattern` is valid for `name`. Both are in lower case. `*` matches one label.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_dot_is_not_part_of_the_name() {
        assert_eq!(server_name("localhost.").unwrap().to_str(), "localhost");
    }

    #[test]
    fn addresses_are_expected_as_addresses() {
        for host in ["127.0.0.1", "::1", "[::1]", "fe80::1%lo"] {
            assert!(matches!(server_name(host), Ok(ServerName::IpAddress(_))), "{host}");
        }
    }

    #[test]
    fn underscores_are_allowed_in_names() {
        assert_eq!(server_name("a_b.localhost").unwrap().to_str(), "a_b.localhost");
    }

    #[test]
    fn other_texts_are_errors() {
        for host in ["", ".", "a b", "-", "a..b"] {
            assert!(server_name(host).is_err(), "{host:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(matches("*.example.org", "www.example.org"));
        for name in ["example.org", "a.b.example.org", ".example.org", "www.example.com"] {
            assert!(!matches("*.example.org", name), "{name}");
        }
    }
}
