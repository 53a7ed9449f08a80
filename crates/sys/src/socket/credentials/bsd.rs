//! getpeereid(3), which does not return the process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::seam::PeerCredentials;

pub(super) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the descriptor is open, and getpeereid(3) only fills the two numbers.
    match unsafe { libc::getpeereid(socket.as_raw_fd(), &mut uid, &mut gid) } {
        0 => Ok(PeerCredentials { pid: None, uid, gid }),
        _ => Err(io::Error::last_os_error()),
    }
}
