//! The use of a device by one program alone.
//!
//! TIOCEXCL makes the system refuse further opens, except those of root. The lock of flock(2) also refuses root, and
//! one of two programs that open the device at the same moment, if both ask for it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::termios::{ioctl_tiocexcl, ioctl_tiocnxcl};

#[cfg_attr(linux_like, path = "linux.rs")]
#[cfg_attr(not(linux_like), path = "other.rs")]
mod system;

/// Takes the device for this process, until the last descriptor of this open file is closed.
///
/// # Errors
/// `EWOULDBLOCK` or `EBUSY` if another program uses the device.
pub(super) fn take(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    flock(fd, FlockOperation::NonBlockingLockExclusive)?;
    if system::is_taken(fd) {
        return Err(Errno::BUSY);
    }
    ioctl_tiocexcl(fd)
}

/// Lets other programs open the device again. The flag belongs to the device, so it would outlive this open file if
/// another program had opened the device before.
pub(super) fn give_up(fd: BorrowedFd<'_>) {
    // Fails if the device has vanished, and the flag with it.
    let _ = ioctl_tiocnxcl(fd.as_fd());
}
