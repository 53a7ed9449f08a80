//! Systems without a flag of a call that keeps it from blocking.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use rustix::event::PollFlags;

pub(super) fn read(fd: &OwnedFd, slices: &mut [IoSliceMut<'_>]) -> rustix::io::Result<usize> {
    super::looked(fd, PollFlags::IN)?;
    rustix::io::readv(fd, slices)
}

pub(super) fn write(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    super::write_looking(fd, slices)
}
