//! Socket options behind the seam's names.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt;

use crate::seam::SocketOption;

pub(crate) fn get(socket: BorrowedFd<'_>, option: SocketOption) -> io::Result<bool> {
    Ok(match option {
        SocketOption::NoDelay => sockopt::tcp_nodelay(socket)?,
        SocketOption::KeepAlive => sockopt::socket_keepalive(socket)?,
    })
}

pub(crate) fn set(socket: BorrowedFd<'_>, option: SocketOption, on: bool) -> io::Result<()> {
    match option {
        SocketOption::NoDelay => sockopt::set_tcp_nodelay(socket, on)?,
        SocketOption::KeepAlive => sockopt::set_socket_keepalive(socket, on)?,
    }
    Ok(())
}

/// Makes the next close(2) send a reset and drop bytes in flight. This has no effect on a UNIX socket.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) {
    // The call fails only for a socket without a connection, and such a socket has no connection to reset.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
