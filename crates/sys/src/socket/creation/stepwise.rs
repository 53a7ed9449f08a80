//! Systems that need a call for each flag: no accept4(2) and no MSG_CMSG_CLOEXEC, and SO_NOSIGPIPE instead of
//! MSG_NOSIGNAL.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, socket};

use crate::socket::raw_address::RawAddress;

/// The flags of every send.
pub(in crate::socket) const SEND_FLAGS: SendFlags = SendFlags::empty();

/// The flags of a receive that takes descriptors.
pub(in crate::socket) const RECEIVE_FLAGS: RecvFlags = RecvFlags::empty();

/// Makes exec(2) close a received descriptor.
pub(in crate::socket) fn close_by_exec(received: &OwnedFd) -> rustix::io::Result<()> {
    fcntl_setfd(received, FdFlags::CLOEXEC)
}

pub(in crate::socket) fn open(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket(family, kind, None)?;
    prepare(&socket)?;
    Ok(socket)
}

pub(in crate::socket) fn acceptfrom(port: BorrowedFd<'_>) -> rustix::io::Result<(OwnedFd, RawAddress)> {
    let fd = port.as_raw_fd();
    // SAFETY: the descriptor is open, and the pointers are those of `written_by`.
    let (new, peer) = RawAddress::written_by(|name, length| unsafe { libc::accept(fd, name, length) })?;
    // SAFETY: accept(2) has just opened this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(new) };
    // EINVAL means that the peer has closed already. accept4(2) returns ECONNABORTED in this case.
    prepare(&socket).map_err(|error| if error == Errno::INVAL { Errno::CONNABORTED } else { error })?;
    Ok((socket, peer))
}

/// Gives a socket of another program the flags that `open` gives to new sockets.
pub(in crate::socket) fn prepare(socket: &impl AsFd) -> rustix::io::Result<()> {
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(socket, true)?;
    rustix::net::sockopt::set_socket_nosigpipe(socket, true)
}

/// There is no SO_ACCEPTCONN. A stream socket with a name and without a peer is listening, or will listen soon.
pub(in crate::socket) fn is_listening(socket: &impl AsFd) -> rustix::io::Result<bool> {
    match RawAddress::peer(socket) {
        Ok(_) => Ok(false),
        Err(Errno::NOTCONN) => Ok(true),
        Err(error) => Err(error),
    }
}
