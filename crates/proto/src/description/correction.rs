//! Guesses the description that the author of a wrong one had in mind.

use std::net::{IpAddr, SocketAddr};

use super::arguments::{port, read_known};
use super::{Description, ZonedIp, client, datagram, quote_string_argument, server};

/// The port in the examples of error messages.
const EXAMPLE_PORT: u16 = 8000;

/// The direction in which an endpoint is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

impl Side {
    /// Returns the side with this name in error messages.
    pub(super) fn named(name: &str) -> Side {
        if name.ends_with("client") { Side::Client } else { Side::Server }
    }
}

/// Returns the correction of a description whose type is unknown: an address or path without a type, or a misspelled
/// type. If the arguments are wrong too, the correction of a misspelled type is the type alone.
pub(super) fn of_unknown_type(side: Side, description: &Description, known: &[&str]) -> Option<String> {
    let (name, text) = (&description.name().value, description.text());
    let is_known = |name: &str| known.contains(&name);
    let first_known = |names: &[&'static str]| names.iter().copied().find(|name| is_known(name));
    if let Some(correct) = first_known(&["tcp", "udp"]).and_then(|name| of_address(side, name, text)) {
        return Some(correct);
    }
    let bare: &[&str] = match name.as_bytes() {
        [b'0'..=b'9', ..] if port(name).is_some() && side == Side::Server => &["tcp", "udp"],
        _ if name.starts_with("/dev/tty") => &["serial"],
        [b'/', ..] | [b'.', b'/', ..] | [b'@', _, ..] => &["unix", "unix-datagram"],
        _ => &[],
    };
    if let Some(missing) = first_known(bare) {
        return accepted(side, format!("{missing}:{text}"));
    }
    if let Some(counterpart) = counterpart(name).filter(|counterpart| is_known(counterpart)) {
        return with_name(side, description, counterpart);
    }
    let near = nearest(name, known)?;
    with_name(side, description, near)
}

/// Returns the description with another type, or that type alone if the arguments do not fit it.
fn with_name(side: Side, description: &Description, name: &str) -> Option<String> {
    let whole = description.rest().and_then(|(_, rest)| accepted(side, format!("{name}:{rest}")));
    Some(whole.unwrap_or_else(|| name.to_owned()))
}

/// The endpoint types of streams, each with the type for datagrams between the same kinds of addresses.
const COUNTERPARTS: [(&str, &str); 3] = [("tcp", "udp"), ("tcp6", "udp"), ("unix", "unix-datagram")];

/// Returns the type of the other transport that has the same kind of addresses.
fn counterpart(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let mut pairs = COUNTERPARTS.into_iter();
    pairs.find_map(|(stream, datagram)| match &*name {
        name if name == stream => Some(datagram),
        name if name == datagram => Some(stream),
        _ => None,
    })
}

/// Returns the transport of a built-in type that is missing in `known`, if `known` has its counterpart.
pub(super) fn of_other_transport(name: &str, known: &[&str]) -> Option<&'static str> {
    counterpart(name).filter(|counterpart| known.contains(counterpart))?;
    let is_datagram = datagram::SERVER_KINDS.iter().any(|(shape, _)| shape.name.eq_ignore_ascii_case(name));
    Some(if is_datagram { "datagrams" } else { "streams" })
}

/// Returns the correction of a `tcp`, `tcp6` or `udp` description whose arguments are wrong: an address in the order that
/// other programs use, or a name as the interface.
pub(super) fn of_arguments(side: Side, description: &Description) -> Option<String> {
    let name = description.name().value.to_ascii_lowercase();
    let (_, rest) = description.rest().filter(|_| ["tcp", "tcp6", "udp"].contains(&&*name))?;
    let is_named = || description.text().contains("interface=localhost");
    of_address(side, &name, rest)
        .or_else(|| is_named().then(|| description.text().replace("=localhost", "=127.0.0.1")))
        .and_then(|text| accepted(side, text))
}

/// Returns `text` if its type accepts it. Only the built-in types are asked.
fn accepted(side: Side, text: String) -> Option<String> {
    let description = text.parse().ok()?;
    let outcomes = match side {
        Side::Server => [
            read_known(&description, server::KINDS).map(|outcome| outcome.is_ok()),
            read_known(&description, datagram::SERVER_KINDS).map(|outcome| outcome.is_ok()),
        ],
        Side::Client => [
            read_known(&description, client::KINDS).map(|outcome| outcome.is_ok()),
            read_known(&description, datagram::CLIENT_KINDS).map(|outcome| outcome.is_ok()),
        ],
    };
    outcomes.into_iter().flatten().all(|is_accepted| is_accepted).then_some(text)
}

/// Returns the description of an address as other programs write it: `8000`, `127.0.0.1:8000`, `[::1]:8000`, `*:8000`,
/// `localhost:8000` or `http://127.0.0.1:8000/`. An address without a port gets the port of the examples.
fn of_address(side: Side, name: &str, text: &str) -> Option<String> {
    let text =
        ["http://", "https://", "tcp://", "udp://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Some(port) = port(text) {
        return of_host(side, name, "localhost", port);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let zone = match address {
            SocketAddr::V6(address) if address.scope_id() != 0 => format!("%{}", address.scope_id()),
            _ => String::new(),
        };
        return of_host(side, name, &format!("{}{zone}", address.ip()), address.port());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return of_host(side, name, bare, EXAMPLE_PORT);
    }
    let (host, number) = text.rsplit_once(':')?;
    let port = port(number)?;
    let is_name = host.contains('.') && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    match (host, side) {
        ("localhost", _) => of_host(side, name, host, port),
        ("*" | "", Side::Server) => Some(format!("{name}:{port}")),
        (name_of_host, Side::Client) if is_name => of_host(side, name, name_of_host, port),
        _ => None,
    }
}

fn of_host(side: Side, name: &str, host: &str, port: u16) -> Option<String> {
    let address = if host == "localhost" { "127.0.0.1" } else { host };
    let address: Option<ZonedIp> = ZonedIp::parse(address);
    // A client cannot notice that a server has only one of the two addresses of localhost.
    let host = if host == "localhost" && name == "udp" { "127.0.0.1" } else { host };
    let is_ipv4 = address.as_ref().is_some_and(|address| address.ip.is_ipv4());
    let name = if is_ipv4 && name == "tcp6" { "tcp" } else { name };
    let text = match (side, address) {
        (Side::Server, Some(address)) => {
            format!("{name}:{port}:interface={}", quote_string_argument(&address.to_string()))
        }
        _ => format!("{name}:{}:{port}", quote_string_argument(host)),
    };
    accepted(side, text)
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
    use proptest::prelude::*;

    use super::super::{ClientDescription, ServerDescription};
    use super::*;

    fn correction_of(side: Side, text: &str) -> Option<String> {
        let description: Description = text.parse().unwrap();
        let known = match side {
            Side::Server => Vec::from_iter(ServerDescription::names()),
            Side::Client => Vec::from_iter(ClientDescription::names()),
        };
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
            ("tpc:eighty", "tcp"),
            ("./x", "unix:./x"),
            ("@web:backlog=5", "unix:@web:backlog=5"),
            ("127.0.0.1", "tcp:8000:interface=127.0.0.1"),
            ("[::1]", r"tcp:8000:interface=\:\:1"),
            ("tcp:80:interface=localhost:backlog=5", "tcp:80:interface=127.0.0.1:backlog=5"),
            ("[fe80::1%3]:80", r"tcp:80:interface=fe80\:\:1%3"),
            ("127.0.0.1:0", "tcp:0:interface=127.0.0.1"),
            ("udp:53:interface=127.0.0.1", "tcp:53:interface=127.0.0.1"),
            ("UDP:53", "tcp:53"),
            ("udp:eighty", "tcp"),
            ("unix-datagram:/run/x:mode=600", "unix:/run/x:mode=600"),
            ("/dev/ttyUSB0:115200", "serial:/dev/ttyUSB0:115200"),
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
            ("tpc:h:0", "tcp"),
            ("@db", "unix:@db"),
            ("/dev/ttyUSB0:115200", "serial:/dev/ttyUSB0:115200"),
            ("192.0.2.1", "tcp:192.0.2.1:8000"),
            ("[fe80::1%3]:80", r"tcp:fe80\:\:1%3:80"),
        ];
        for (text, correct) in clients {
            assert_eq!(correction_of(Side::Client, text).as_deref(), Some(correct), "{text}");
        }
    }

    #[test]
    fn an_unlikely_mistake_is_not_corrected() {
        for text in ["ipx:80", "65536", "localhost", "é:80", "x", "example.com:80", "tcp:eighty", "tcp:65536", "fd:x"]
        {
            assert_eq!(correction_of(Side::Server, text), None, "{text}");
        }
        assert_eq!(correction_of(Side::Client, "ipx:80"), None);
        // The correction would be refused too.
        for text in ["0", "127.0.0.1:0", "tcp:0", "tcp:h.example:0", "localhost:0", "/run/x:mode=600"] {
            assert_eq!(correction_of(Side::Client, text), None, "{text}");
        }
        for text in ["@", "tcp6:80:interface=localhost", "8000:if=127.0.0.1", "8000:9000", "/run/x:mode=999"] {
            assert_eq!(correction_of(Side::Server, text), None, "{text}");
        }
        assert_eq!(nearest("ta", &["tb", "tc"]), None, "two names are equally near");
    }

    proptest! {
        #[test]
        fn a_correction_is_accepted(
            server in any::<bool>(),
            text in r"((tcp|tpc|tcp6|unix|unx|fd|/run/x|http://)[:/]?)?(0|80|h\.example|localhost|\[::1\]|\*)?(:(0|80|port=|mode=)[0-9.]{0,4}){0,2}",
        ) {
            let side = if server { Side::Server } else { Side::Client };
            let correct = text.parse::<Description>().ok().and_then(|_| correction_of(side, &text));
            if let Some(correct) = correct.filter(|correct| correct.contains(':')) {
                let error = match side {
                    Side::Server => correct.parse::<ServerDescription>().err(),
                    Side::Client => correct.parse::<ClientDescription>().err(),
                };
                prop_assert_eq!(error, None, "{}: {}", text, correct);
            }
        }
    }
}
