//! Systems whose calls take the flags: accept4(2), MSG_NOSIGNAL, MSG_CMSG_CLOEXEC.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

use crate::socket::raw_address::RawAddress;

/// The flags of every send.
pub(in crate::socket) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

/// The flags of a receive that takes descriptors.
pub(in crate::socket) const RECEIVE_FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Makes exec(2) close a received descriptor. `RECEIVE_FLAGS` has done it already.
pub(in crate::socket) fn close_by_exec(_received: &OwnedFd) -> rustix::io::Result<()> {
    Ok(())
}

pub(in crate::socket) fn open(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    Ok(socket_with(family, kind, FLAGS, None)?)
}

pub(in crate::socket) fn acceptfrom(port: BorrowedFd<'_>) -> rustix::io::Result<(OwnedFd, RawAddress)> {
    const FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = port.as_raw_fd();
    // SAFETY: the descriptor is open, and the pointers are those of `written_by`.
    let (new, peer) = RawAddress::written_by(|name, length| unsafe { libc::accept4(fd, name, length, FLAGS) })?;
    // SAFETY: accept4(2) has just opened this descriptor.
    Ok((unsafe { OwnedFd::from_raw_fd(new) }, peer))
}

/// Gives a socket of another program the flags that `open` gives to new sockets.
pub(in crate::socket) fn prepare(socket: &impl AsFd) -> rustix::io::Result<()> {
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(socket, true)
}

/// Returns whether the socket listens: SO_ACCEPTCONN.
pub(in crate::socket) fn is_listening(socket: &impl AsFd) -> rustix::io::Result<bool> {
    rustix::net::sockopt::socket_acceptconn(socket)
}
