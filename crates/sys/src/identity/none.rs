//! Systems without users of this kind.

use std::io;

use super::Identity;

pub(super) fn user(_user: &str) -> io::Result<Identity> {
    Err(unsupported())
}

pub(super) fn group(_group: &str) -> io::Result<u32> {
    Err(unsupported())
}

pub(super) fn supplementary_groups(_identity: Identity) -> io::Result<Vec<u32>> {
    Err(unsupported())
}

pub(super) fn assume(identity: Identity) -> io::Result<()> {
    if identity == Identity::default() { Ok(()) } else { Err(unsupported()) }
}

pub(super) fn effective() -> io::Result<(u32, u32)> {
    Err(io::ErrorKind::Unsupported.into())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "processes do not change their user on this system")
}
