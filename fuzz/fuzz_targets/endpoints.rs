//! The registry accepts every description that the grammar accepts, also nested in other descriptions. An error has the
//! offset of its fault.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk::endpoints::Endpoints;
use ropewalk_proto::description::{
    ClientDescription, DatagramClientDescription, DatagramServerDescription, DescriptionError, ServerDescription,
};

/// The number of descriptions that may enclose another one.
const ENCLOSING_MAX: u8 = 16;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    enclosing: Enclosing,
    count: u8,
    kind: Kind,
    rest: &'a str,
}

/// The spelling of the enclosing type.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Enclosing {
    Plain,
    Upper,
    Escaped,
}

/// An endpoint type, which random bytes would rarely spell.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Any,
    Tcp,
    Tcp6,
    Unix,
    Systemd,
    Fd,
    Stdio,
    Haproxy,
    Serial,
    Process,
    Udp,
    UnixDatagram,
}

fuzz_target!(|case: Case<'_>| {
    let text = [case.kind.text(), case.rest].concat();
    let endpoints = Endpoints::new();
    let server = endpoints.server(&text).map(drop);
    if let Err(error) = &server {
        check_place(&text, error);
    }
    match text.parse::<ServerDescription>() {
        Ok(_) => assert_eq!(server, Ok(())),
        // The registry has one more type than the grammar, haproxy.
        Err(error) => assert!(server.is_ok() || server.as_ref().unwrap_err().offset() >= error.offset()),
    }
    match (text.parse::<ClientDescription>(), endpoints.client(&text)) {
        (Ok(_), Ok(_)) => {}
        (Err(_), Err(error)) => check_place(&text, &error),
        // The registry has one more type than the grammar, process.
        (Err(error), Ok(_)) => assert_eq!(error.offset(), 0, "{text}"),
        (described, made) => panic!("{described:?}, but {:?}", made.err()),
    }
    // Of datagrams the registry has the types of the grammar.
    assert_eq!(text.parse::<DatagramServerDescription>().map(drop), endpoints.datagram_server(&text).map(drop));
    assert_eq!(text.parse::<DatagramClientDescription>().map(drop), endpoints.datagram_client(&text).map(drop));

    let prefix = case.enclosing.text().repeat((case.count % (ENCLOSING_MAX + 2)).into());
    let nested = endpoints.server(&[&*prefix, &*text].concat()).map(drop);
    match (server, nested) {
        (Ok(()), Ok(())) => {}
        (Ok(()), Err(error)) => assert!(error.to_string().contains("nested too deeply"), "{error}"),
        (Err(_), Ok(())) => panic!("{text} is invalid by itself and valid inside {prefix}"),
        // The description is nested too deeply by itself. Inside the prefix the limit is reached earlier.
        (Err(own), Err(_)) if own.to_string().contains("nested too deeply") => {}
        (Err(own), Err(nested)) if nested.to_string() == own.to_string() => {
            assert_eq!(nested.offset(), own.offset() + prefix.len());
        }
        (Err(_), Err(nested)) => check_place(&[&*prefix, &*text].concat(), &nested),
    }
});

fn check_place(text: &str, error: &DescriptionError) {
    assert!(text.is_char_boundary(error.offset()), "{error} at {}", error.offset());
}

impl Enclosing {
    fn text(self) -> &'static str {
        match self {
            Enclosing::Plain => "haproxy:",
            Enclosing::Upper => "HAProxy:",
            Enclosing::Escaped => r"hapro\xy:",
        }
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Any => "",
            Kind::Tcp => "tcp:",
            Kind::Tcp6 => "tcp6:",
            Kind::Unix => "unix:",
            Kind::Systemd => "systemd:",
            Kind::Fd => "fd:",
            Kind::Stdio => "stdio:",
            Kind::Haproxy => "haproxy:",
            Kind::Serial => "serial:",
            Kind::Process => "process:",
            Kind::Udp => "udp:",
            Kind::UnixDatagram => "unix-datagram:",
        }
    }
}
