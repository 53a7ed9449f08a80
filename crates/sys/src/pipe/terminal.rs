//! A terminal that other programs use is opened again. O_NONBLOCK belongs to the open file, so the other programs keep
//! their blocking terminal.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fstat, open};

use super::shared::terminal_path;

/// Opens the terminal behind `fd` again, for the same directions. Returns `None` if the process may not, and for the
/// master of a pseudo-terminal: opening that device makes a new one.
pub(super) fn open_again(fd: &OwnedFd) -> Option<OwnedFd> {
    let directions = fcntl_getfl(fd).ok()? & OFlags::ACCMODE;
    let flags = directions | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = open(terminal_path(fd)?, flags, Mode::empty()).ok()?;
    (fstat(&own).ok()?.st_rdev == fstat(fd).ok()?.st_rdev).then_some(own)
}
