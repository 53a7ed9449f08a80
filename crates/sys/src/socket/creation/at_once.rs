//! Systems that take the flags with the call: accept4(2), MSG_NOSIGNAL.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, socket_with};

/// What every send says.
pub(in crate::socket) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(in crate::socket) fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, FLAGS, None)?)
}

pub(in crate::socket) fn acceptfrom(port: BorrowedFd<'_>) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    acceptfrom_with(port, FLAGS)
}

/// Does for a socket that somebody else opened what `stream_socket` does for ours.
pub(in crate::socket) fn prepare(socket: &impl AsFd) -> rustix::io::Result<()> {
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(socket, true)
}

/// SO_ACCEPTCONN.
pub(in crate::socket) fn is_listening(socket: &impl AsFd) -> rustix::io::Result<bool> {
    rustix::net::sockopt::socket_acceptconn(socket)
}
