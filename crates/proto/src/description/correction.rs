//! Guesses the description that the author of a wrong one had in mind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::arguments::port;
use super::{Description, quote_string_argument};

/// The direction in which an endpoint is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

impl Side {
    /// Returns the side with this name in error messages.
    pub(super) fn named(name: &str) -> Side {
        if name == "client" { Side::Client } else { Side::Server }
    }
}

/// Returns the correction of a description whose type is unknown: an address or path without a type, or a misspelled
/// type.
pub(super) fn of_unknown_type(side: Side, description: &Description, known: &[&str]) -> Option<String> {
    let (name, text) = (&description.name().value, description.text());
    let is_known = |name: &str| known.contains(&name);
    if let Some(correct) = of_address(side, "tcp", text).filter(|_| is_known("tcp")) {
        return Some(correct);
    }
    let bare = match name.as_bytes() {
        [b'0'..=b'9', ..] if port(name).is_some() && side == Side::Server => Some("tcp"),
        [b'/', ..] => Some("unix"),
        _ => None,
    };
    if let Some(missing) = bare.filter(|missing| is_known(missing)) {
        return Some(format!("{missing}:{text}"));
    }
    let near = nearest(name, known)?;
    Some(match description.rest() {
        Some((_, rest)) => format!("{near}:{rest}"),
        None => near.to_owned(),
    })
}

/// Returns the correction of a `tcp` or `tcp6` description whose arguments are wrong: an address in the order that other
/// programs use.
pub(super) fn of_arguments(side: Side, description: &Description) -> Option<String> {
    let name = description.name().value.to_ascii_lowercase();
    let (_, rest) = description.rest().filter(|_| ["tcp", "tcp6"].contains(&&*name))?;
    of_address(side, &name, rest)
}

/// Returns the description of an address as other programs write it: `8000`, `127.0.0.1:8000`, `[::1]:8000`, `*:8000`,
/// `localhost:8000` or `http://127.0.0.1:8000/`.
fn of_address(side: Side, name: &str, text: &str) -> Option<String> {
    let text = ["http://", "https://", "tcp://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Some(port) = port(text) {
        return Some(of_host(side, name, "localhost", port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(of_host(side, name, &address.ip().to_string(), address.port()));
    }
    let (host, number) = text.rsplit_once(':')?;
    let port = port(number)?;
    let is_name = host.contains('.') && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    match (host, side) {
        ("localhost", _) => Some(of_host(side, name, host, port)),
        ("*" | "", Side::Server) => Some(format!("{name}:{port}")),
        (name_of_host, Side::Client) if is_name => Some(of_host(side, name, name_of_host, port)),
        _ => None,
    }
}

fn of_host(side: Side, name: &str, host: &str, port: u16) -> String {
    let address = if host == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { host.parse::<IpAddr>().ok() };
    // tcp6 takes no IPv4 address.
    let name = if address.is_some_and(|address| address.is_ipv4()) { "tcp" } else { name };
    match (side, address) {
        (Side::Server, Some(address)) => {
            format!("{name}:{port}:interface={}", quote_string_argument(&address.to_string()))
        }
        _ => format!("{name}:{}:{port}", quote_string_argument(host)),
    }
}

/// Returns the only name that differs from `name` by one insertion, deletion, replacement or swap of ASCII letters.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut near = known.iter().filter(|known| is_near(name, known));
    near.next().copied().filter(|_| near.next().is_none())
}

fn is_near(left: &str, right: &str) -> bool {
    let (left, right) = (left.to_ascii_lowercase().into_bytes(), right.to_ascii_lowercase().into_bytes());
    let prefix = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
    let (left, right) = (&left[prefix..], &right[prefix..]);
    let suffix = left.iter().rev().zip(right.iter().rev()).take_while(|(left, right)| left == right).count();
    match (&left[..left.len() - suffix], &right[..right.len() - suffix]) {
        ([a, b], [c, d]) => (a, b) == (d, c),
        (left, right) => left.len() <= 1 && right.len() <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correction_of(side: Side, text: &str) -> Option<String> {
        let description: Description = text.parse().unwrap();
        let known = ["tcp", "tcp6", "unix", "fd"];
        match known.contains(&&*description.name().value) {
            true => of_arguments(side, &description),
            false => of_unknown_type(side, &description, &known),
        }
    }

    #[test]
    fn a_likely_mistake_is_corrected() {
        let servers = [
            ("8000", "tcp:8000:interface=127.0.0.1"),
            ("8000:interface=127.0.0.1", "tcp:8000:interface=127.0.0.1"),
            ("127.0.0.1:8000", "tcp:8000:interface=127.0.0.1"),
            ("0.0.0.0:8000", "tcp:8000:interface=0.0.0.0"),
            ("[::1]:8000", r"tcp:8000:interface=\:\:1"),
            ("localhost:8000", "tcp:8000:interface=127.0.0.1"),
            ("*:8000", "tcp:8000"),
            ("http://127.0.0.1:8000/", "tcp:8000:interface=127.0.0.1"),
            ("tcp:127.0.0.1:8000", "tcp:8000:interface=127.0.0.1"),
            ("tcp:localhost:8000", "tcp:8000:interface=127.0.0.1"),
            ("tcp:[::1]:8000", r"tcp:8000:interface=\:\:1"),
            ("tcp6:[::1]:8000", r"tcp6:8000:interface=\:\:1"),
            ("/run/x:mode=600", "unix:/run/x:mode=600"),
            ("tpc:80", "tcp:80"),
            ("TPC:80", "tcp:80"),
            ("unx:/run/x", "unix:/run/x"),
            ("unixx:/run/x", "unix:/run/x"),
            ("fc:3", "fd:3"),
            ("uinx", "unix"),
        ];
        for (text, correct) in servers {
            assert_eq!(correction_of(Side::Server, text).as_deref(), Some(correct), "{text}");
        }
        let clients = [
            ("8000", "tcp:localhost:8000"),
            ("127.0.0.1:8000", "tcp:127.0.0.1:8000"),
            ("[::1]:8000", r"tcp:\:\:1:8000"),
            ("example.com:80", "tcp:example.com:80"),
            ("http://example.com:80/", "tcp:example.com:80"),
            ("localhost:80", "tcp:localhost:80"),
            ("tcp:8000", "tcp:localhost:8000"),
            ("tcp:[::1]:80", r"tcp:\:\:1:80"),
            ("tpc:h:80", "tcp:h:80"),
        ];
        for (text, correct) in clients {
            assert_eq!(correction_of(Side::Client, text).as_deref(), Some(correct), "{text}");
        }
    }

    #[test]
    fn an_unlikely_mistake_is_not_corrected() {
        for text in ["udp:80", "65536", "localhost", "é:80", "x", "example.com:80", "tcp:eighty", "tcp:65536", "fd:x"]
        {
            assert_eq!(correction_of(Side::Server, text), None, "{text}");
        }
        assert_eq!(correction_of(Side::Client, "udp:80"), None);
        assert_eq!(nearest("ta", &["tb", "tc"]), None, "two names are equally near");
    }
}
