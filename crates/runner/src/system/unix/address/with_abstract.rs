//! Systems with abstract addresses, which an `@` begins.

use std::io;

use rustix::net::SocketAddrUnix;

pub(super) fn address(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(match name.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(name)?,
    })
}
