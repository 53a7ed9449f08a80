//! Systems where all UNIX addresses are paths.

use std::io;

use rustix::net::SocketAddrUnix;

pub(super) fn address(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(name)?)
}
