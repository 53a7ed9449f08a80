//! fcntl(2) and dup2(2).

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use crate::detach::is_daemon;

/// The first number behind standard input, output and error.
const FIRST_OTHER: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

pub(super) fn inherited(number: u32) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: F_DUPFD_CLOEXEC takes any integer, touches no memory, and returns EBADF for a descriptor that is not
    // open.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST_OTHER) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `copy` was made by the call above, which succeeded, and has no other owner.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: F_SETFD takes any integer and touches no memory. It fails only for a closed descriptor, and this one is
    // open.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    Ok(copy)
}

pub(super) fn take_standard_streams() -> io::Result<[OwnedFd; 2]> {
    if is_daemon() {
        let message = "a process in the background has no standard input and output";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "standard input and output are in use already"));
    }
    let streams = [fcntl_dupfd_cloexec(stdin(), FIRST_OTHER)?, fcntl_dupfd_cloexec(stdout(), FIRST_OTHER)?];
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(streams)
}
