//! Systems without a flag of a call that keeps it from blocking.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;

pub(super) fn read(fd: BorrowedFd<'_>, slices: &mut [IoSliceMut<'_>]) -> rustix::io::Result<usize> {
    super::looked(fd, PollFlags::IN)?;
    rustix::io::readv(fd, slices)
}

pub(super) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    super::write_looking(fd, slices)
}
