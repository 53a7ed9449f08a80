//! Every kind of endpoint, by name: what the grammar takes, the registry takes, also within other descriptions, and what it
//! refuses is found at its place.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk::endpoints::Endpoints;
use ropewalk_proto::description::{ClientDescription, DescriptionError, ServerDescription};

/// How many descriptions may stand around another one.
const AROUND_MOST: u8 = 16;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    around: Around,
    count: u8,
    kind: Kind,
    rest: &'a str,
}

/// The name of what stands around, as a person may write it.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Around {
    Plain,
    Upper,
    Escaped,
}

/// What few random bytes would ever be.
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
        // The registry knows one kind more than the grammar, and says so.
        Err(error) => assert!(server.is_ok() || server.as_ref().unwrap_err().offset() >= error.offset()),
    }
    match (text.parse::<ClientDescription>(), endpoints.client(&text)) {
        (Ok(_), Ok(_)) => {}
        (Err(_), Err(error)) => check_place(&text, &error),
        (described, made) => panic!("{described:?}, but {:?}", made.err()),
    }

    let prefix = case.around.text().repeat((case.count % (AROUND_MOST + 2)).into());
    let nested = endpoints.server(&[&*prefix, &*text].concat()).map(drop);
    match (server, nested) {
        (Ok(()), Ok(())) => {}
        (Ok(()), Err(error)) => assert!(error.to_string().contains("nested too deeply"), "{error}"),
        (Err(_), Ok(())) => panic!("what is wrong by itself is right within {prefix}"),
        (Err(own), Err(nested)) if nested.to_string() == own.to_string() => {
            assert_eq!(nested.offset(), own.offset() + prefix.len());
        }
        (Err(_), Err(nested)) => check_place(&[&*prefix, &*text].concat(), &nested),
    }
});

fn check_place(text: &str, error: &DescriptionError) {
    assert!(text.is_char_boundary(error.offset()), "{error} at {}", error.offset());
}

impl Around {
    fn text(self) -> &'static str {
        match self {
            Around::Plain => "haproxy:",
            Around::Upper => "HAProxy:",
            Around::Escaped => r"hapro\xy:",
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
        }
    }
}
