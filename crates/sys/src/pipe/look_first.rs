//! Systems without a flag of a call that keeps it from blocking.

use std::ffi::CString;
use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};

pub(super) use super::read_looking as read;
use super::{SURE_BYTES, write_looking};

pub(super) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    write_looking(fd, slices, SURE_BYTES)
}

/// Returns the path of the terminal behind `fd`. The master of a pseudo-terminal has none.
pub(super) fn terminal_path(fd: &OwnedFd) -> Option<CString> {
    rustix::termios::ttyname(fd, Vec::new()).ok()
}
