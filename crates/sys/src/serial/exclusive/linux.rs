//! TIOCGEXCL, tty_ioctl(4).

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// Returns whether another program has set TIOCEXCL. Root could open the device all the same.
pub(super) fn is_taken(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: TIOCGEXCL writes an int to its argument.
    let request = unsafe { Getter::<{ libc::TIOCGEXCL as Opcode }, c_int>::new() };
    // SAFETY: the request only asks for a flag of the terminal.
    unsafe { ioctl(fd, request) }.is_ok_and(|taken| taken != 0)
}
