//! Any bytes and any length are an address of a socket. A UNIX address of valid text survives an endpoint description.

#![no_main]

use std::mem::offset_of;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_proto::Address;
use ropewalk_proto::description::{ServerDescription, UnixServer};

#[path = "../../crates/sys/src/socket"]
#[allow(dead_code, reason = "the target only decodes")]
mod socket {
    mod raw_address;
    #[path = "unix_name/with_abstract.rs"]
    mod unix_name;

    pub(super) fn decode(raw: &[u8]) -> ropewalk_proto::Address {
        raw_address::decode(raw)
    }
}

#[derive(Arbitrary, Debug)]
enum Case {
    Any(Vec<u8>),
    Family(u8, Vec<u8>),
    Unix(Vec<u8>),
}

fuzz_target!(|case: Case| {
    let raw = match case {
        Case::Any(bytes) => bytes,
        Case::Family(family, bytes) => [&u16::from(family).to_ne_bytes()[..], &bytes].concat(),
        Case::Unix(name) => return check(&name),
    };
    let _ = socket::decode(&raw).to_string();
});

/// Checks that the kernel's bytes for `name` are decoded to it, as unix(7) describes.
fn check(name: &[u8]) {
    let mut raw = vec![0; offset_of!(libc::sockaddr_un, sun_path)];
    let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
    let at = offset_of!(libc::sockaddr, sa_family);
    raw[at..at + family.len()].copy_from_slice(&family);
    raw.extend_from_slice(name);
    let address = socket::decode(&raw);
    let expected = match name {
        [] | [0] => Address::Unnamed,
        [0, name @ ..] => Address::Abstract(name.into()),
        _ => {
            let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
            assert_eq!(address.to_string().is_empty(), path.is_empty());
            return survives(&address, path);
        }
    };
    assert_eq!(address, expected);
    survives(&address, name.get(1..).unwrap_or_default());
}

fn survives(address: &Address, name: &[u8]) {
    if *address == Address::Unnamed || std::str::from_utf8(name).is_err() {
        return;
    }
    let text = ServerDescription::Unix(UnixServer::new(address.clone())).to_string();
    let again = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let ServerDescription::Unix(again) = again else { panic!("{text:?} is no UNIX address") };
    // A path that begins like an abstract name is written as `./@name`.
    let same = again.address == *address || text.starts_with("unix:./@") || text.starts_with("unix:.\\/@");
    assert!(same, "{address:?}, {text:?}, {:?}", again.address);
}
