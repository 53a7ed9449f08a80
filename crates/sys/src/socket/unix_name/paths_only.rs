//! Everywhere but on Linux a UNIX address is a path.

use std::io;

use rustix::net::SocketAddrUnix;

pub(in crate::socket) fn named(_name: &[u8]) -> io::Result<SocketAddrUnix> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract UNIX addresses exist on Linux only"))
}

pub(in crate::socket) fn abstract_of(_address: &SocketAddrUnix) -> Option<&[u8]> {
    None
}
