//! A flag of each call keeps it from blocking: RWF_NOWAIT, preadv2(2). Kernels before Linux 6.4 do not know it for
//! pipes, and no kernel up to 6.18 knows it for a FIFO that was opened by its name.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::{SURE_BYTES, read_looking, write_looking};

/// The offset -1, preadv2(2). Pipes have no offset, so they refuse any other.
const NO_OFFSET: u64 = u64::MAX;

pub(super) fn read(fd: BorrowedFd<'_>, scratch: &mut [u8]) -> rustix::io::Result<usize> {
    match preadv2(fd, &mut [IoSliceMut::new(scratch)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => read_looking(fd, scratch),
        outcome => outcome,
    }
}

pub(super) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    match pwritev2(fd, slices, NO_OFFSET, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_looking(fd, slices, SURE_BYTES),
        outcome => outcome,
    }
}

/// Returns a path that opens the terminal behind `fd`, unless `fd` is the master of a pseudo-terminal.
pub(super) fn terminal_path(fd: &OwnedFd) -> Option<String> {
    let is_master = rustix::pty::ptsname(fd, Vec::new()).is_ok();
    (!is_master).then(|| format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
