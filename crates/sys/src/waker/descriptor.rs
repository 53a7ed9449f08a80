//! Gives a descriptor number another open file.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Makes the number of `old` refer to the open file of `fresh`, for every holder of the number.
pub(super) fn put_under(old: &OwnedFd, fresh: &OwnedFd) -> io::Result<()> {
    // SAFETY: the number is open, and stays so: dup2(2) replaces what it refers to, and nothing here closes it.
    let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(old.as_raw_fd()) });
    rustix::io::dup2(fresh, &mut number)?;
    Ok(fcntl_setfd(old, FdFlags::CLOEXEC)?)
}
