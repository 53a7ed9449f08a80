//! On systems other than Linux, each UNIX address is a path.

use std::io;

use ropewalk_proto::Address;
use rustix::net::SocketAddrUnix;

pub(in crate::socket) fn named(_name: &[u8]) -> io::Result<SocketAddrUnix> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract UNIX addresses exist on Linux only"))
}

/// A first byte of zero means that there is no path.
pub(in crate::socket) fn decode_abstract(_name: &[u8]) -> Option<Address> {
    None
}
