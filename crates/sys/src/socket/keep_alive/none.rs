//! Systems that have one setting for all sockets, such as OpenBSD with sysctl(8).

use std::io;
use std::os::fd::BorrowedFd;

use crate::seam::KeepAliveTimes;

pub(in crate::socket) fn times(_socket: BorrowedFd<'_>) -> io::Result<KeepAliveTimes> {
    Err(unsupported())
}

pub(in crate::socket) fn set_times(_socket: BorrowedFd<'_>, _times: KeepAliveTimes) -> io::Result<()> {
    Err(unsupported())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no times of keep-alive probes for one socket")
}
