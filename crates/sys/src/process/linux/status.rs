//! The status of a process that has ended.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::seam::ExitStatus;

/// PIDFD_GET_INFO, since Linux 6.13: `_IOWR(0xFF, 11, struct pidfd_info)` with the structure's first size.
const PIDFD_GET_INFO: u32 = 0xC000_0000 | (size_of::<Info>() as u32) << 16 | 0xFF << 8 | 11;
/// The request for `exit_code`, since Linux 6.15.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info`, in its first size.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and the user's and group's numbers.
    numbers: [u32; 11],
    exit_code: i32,
}

/// Returns the status, or `None` while the process runs. Waits for this process alone.
pub(super) fn of(process: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    match waitid(WaitId::PidFd(process), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(ended) => Ok(ended.map(|status| of_wait(&status))),
        // Another part of the program has waited for all children, or ignores SIGCHLD, so that the system waits.
        Err(Errno::CHILD) => Ok(Some(of_reaped(process))),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process still runs, or may do so.
pub(super) fn runs(process: BorrowedFd<'_>) -> bool {
    matches!(of(process), Ok(None))
}

fn of_wait(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Exited(code),
        (None, Some(signal)) => ExitStatus::Killed { signal, core_dumped: status.dumped() },
        (None, None) => ExitStatus::Unknown,
    }
}

/// The number of questions about a status that another thread is just taking.
const QUESTIONS: usize = 1000;

/// Asks the process descriptor, which remembers the status.
fn of_reaped(process: BorrowedFd<'_>) -> ExitStatus {
    // Between the call that takes the status and the note of it in the descriptor, there is neither.
    for _ in 0..QUESTIONS {
        match ask(process) {
            Ok(Some(status)) => return status,
            Ok(None) | Err(Errno::SRCH) => std::thread::yield_now(),
            // This system does not know the request.
            Err(_) => break,
        }
    }
    ExitStatus::Unknown
}

/// Returns the status that the descriptor has a note of.
fn ask(process: BorrowedFd<'_>) -> Result<Option<ExitStatus>, Errno> {
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    // SAFETY: the request has the size of `info` in it, and the kernel writes no more than that.
    let outcome = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if outcome < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then(|| in_words(info.exit_code)))
}

fn in_words(code: i32) -> ExitStatus {
    if libc::WIFEXITED(code) {
        ExitStatus::Exited(libc::WEXITSTATUS(code))
    } else {
        ExitStatus::Killed { signal: libc::WTERMSIG(code), core_dumped: libc::WCOREDUMP(code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_number_that_the_kernel_documents() {
        assert_eq!(size_of::<Info>(), 64);
        assert_eq!(PIDFD_GET_INFO, 0xC040_FF0B);
    }
}
