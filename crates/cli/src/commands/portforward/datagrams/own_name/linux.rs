//! Abstract names, which Linux has. They need no file.

use std::hash::{BuildHasher, RandomState};

use ropewalk::Address;

/// Returns a name that no other socket has.
pub(in super::super) fn own_name() -> Option<Address> {
    // Each state has another random key.
    let number = RandomState::new().hash_one(std::process::id());
    Some(Address::Abstract(format!("ropewalk-{number:016x}").as_bytes().into()))
}
