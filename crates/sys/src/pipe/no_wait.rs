//! A flag of each call keeps it from blocking: RWF_NOWAIT, preadv2(2). Kernels before Linux 6.4 do not know it for
//! pipes, and no kernel up to 6.18 knows it for a FIFO that was opened by its name.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

/// The offset that stands for none: a pipe has no offset.
const PRESENT: u64 = u64::MAX;

pub(super) fn read(fd: BorrowedFd<'_>, slices: &mut [IoSliceMut<'_>]) -> rustix::io::Result<usize> {
    match preadv2(fd, slices, PRESENT, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            super::looked(fd, PollFlags::IN)?;
            rustix::io::readv(fd, slices)
        }
        outcome => outcome,
    }
}

pub(super) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    match pwritev2(fd, slices, PRESENT, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => super::write_looking(fd, slices, super::SURE_BYTES),
        outcome => outcome,
    }
}

/// Opens the terminal behind `fd` again, for the same directions. Returns `None` if the process may not, and for the
/// master of a pseudo-terminal: opening that device makes a new one.
pub(super) fn open_again(fd: &OwnedFd) -> Option<OwnedFd> {
    let directions = fcntl_getfl(fd).ok()? & OFlags::ACCMODE;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = directions | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if rustix::pty::ptsname(fd, Vec::new()).is_ok() {
        return None;
    }
    let own = open(path, flags, Mode::empty()).ok()?;
    (fstat(&own).ok()?.st_rdev == fstat(fd).ok()?.st_rdev).then_some(own)
}
