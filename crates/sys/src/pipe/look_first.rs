//! Systems without a flag of a call that keeps it from blocking.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};

pub(super) fn read(fd: BorrowedFd<'_>, slices: &mut [IoSliceMut<'_>]) -> rustix::io::Result<usize> {
    super::looked(fd, PollFlags::IN)?;
    rustix::io::readv(fd, slices)
}

pub(super) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    super::write_looking(fd, slices, super::SURE_BYTES)
}

/// Opens the terminal behind `fd` again by its name, for the same directions. Returns `None` if it has no name, as the
/// master of a pseudo-terminal, or if the process may not.
pub(super) fn open_again(fd: &OwnedFd) -> Option<OwnedFd> {
    let directions = fcntl_getfl(fd).ok()? & OFlags::ACCMODE;
    let name = rustix::termios::ttyname(fd, Vec::new()).ok()?;
    let flags = directions | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = open(name, flags, Mode::empty()).ok()?;
    (fstat(&own).ok()?.st_rdev == fstat(fd).ok()?.st_rdev).then_some(own)
}
