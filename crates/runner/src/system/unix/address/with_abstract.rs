//! Systems with abstract UNIX addresses, written with a leading `@`.

use std::io;

use rustix::net::SocketAddrUnix;

pub(super) fn address(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(match name.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(name)?,
    })
}
