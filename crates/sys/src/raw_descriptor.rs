//! Descriptors that the user passes as numbers.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, fcntl_getfd};

use crate::io_handle::RawWaitable;

/// Borrows a descriptor after a check that it is open.
///
/// # Errors
/// `EBADF` if the descriptor is not open.
pub(crate) fn borrow_open<'fd>(handle: RawWaitable) -> io::Result<BorrowedFd<'fd>> {
    if handle < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not -1. The owner keeps the descriptor open while it is watched. Otherwise fcntl(2) returns
    // EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(handle) };
    fcntl_getfd(fd)?;
    Ok(fd)
}
