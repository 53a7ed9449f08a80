//! A flag of each call keeps it from blocking: RWF_NOWAIT, preadv2(2). Kernels before Linux 6.4 do not know it for
//! pipes.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;
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
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => super::write_looking(fd, slices),
        outcome => outcome,
    }
}
