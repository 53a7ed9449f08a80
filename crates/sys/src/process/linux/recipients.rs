//! Signals to a process or to its group, by the descriptor of the process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::seam::Recipient;
use crate::system_error::explained_error;

/// PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9.
const GROUP: libc::c_uint = 1 << 2;

/// Sends `signal`. `pid` is the number of the process if the process has not been waited for, so that the number
/// belongs to it.
pub(super) fn signal(process: BorrowedFd<'_>, pid: Option<i32>, signal: i32, to: Recipient) -> io::Result<()> {
    match to {
        Recipient::Process => send(process, signal, 0),
        Recipient::Group => match send(process, signal, GROUP) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => signal_group_by_number(pid, signal),
            outcome => outcome,
        },
    }
}

fn send(process: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    let none = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and without a `siginfo_t` the system reads no memory.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, flags) })
}

/// Older systems know a group by its number alone, and the number is free once the leader has been waited for.
fn signal_group_by_number(pid: Option<i32>, signal: i32) -> io::Result<()> {
    let pid = pid.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the leader of the group has ended: signals to the rest need Linux 6.9 or later",
        )
    })?;
    // SAFETY: kill(2) touches no memory. The number is that of a child that has not been waited for.
    check(libc::c_long::from(unsafe { libc::kill(-pid, signal) }))
}

fn check(outcome: libc::c_long) -> io::Result<()> {
    if outcome >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Err(explained_error(io::ErrorKind::NotFound, error, "no such process is left")),
        _ => Err(error),
    }
}
