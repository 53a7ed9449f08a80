//! Linux has abstract names, unix(7).

use std::io;

use ropewalk_proto::Address;
use rustix::net::SocketAddrUnix;

pub(in crate::socket) fn named(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name)?)
}

/// accept(2) gives an unnamed socket an empty abstract name.
pub(in crate::socket) fn decode_abstract(name: &[u8]) -> Option<Address> {
    if name.is_empty() { None } else { Some(Address::Abstract(name.into())) }
}
