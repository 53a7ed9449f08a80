//! Linux has abstract names, unix(7).

use std::io;

use rustix::net::SocketAddrUnix;

pub(in crate::socket) fn named(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name)?)
}

pub(in crate::socket) fn abstract_of(address: &SocketAddrUnix) -> Option<&[u8]> {
    address.abstract_name()
}
