//! Asks whether a process serves the path of a UNIX socket.

use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect};

use super::creation;

/// The state of the path of a UNIX socket.
pub(crate) enum Service {
    /// A process has a socket that is bound to the file, or this process may not find out.
    Present,
    /// There is a file, and no process has a socket for it.
    Absent,
    NoFile,
}

/// Returns whether a process has a socket at `path`.
///
/// A datagram socket cannot connect to a stream socket. So the server at the path, if there is one, notices nothing:
/// connect(2) returns EPROTOTYPE.
pub(crate) fn service_at(path: &Path) -> Service {
    let connected = creation::open(AddressFamily::UNIX, SocketType::DGRAM)
        .and_then(|socket| Ok(connect(&socket, &SocketAddrUnix::new(path)?)?));
    match connected.map_err(|error| Errno::from_io_error(&error)) {
        Err(Some(Errno::CONNREFUSED)) => Service::Absent,
        Err(Some(Errno::NOENT)) => Service::NoFile,
        _ => Service::Present,
    }
}
