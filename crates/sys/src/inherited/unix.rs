//! fcntl(2) and dup2(2).

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};
use rustix::termios::isatty;

use crate::detach::is_daemon;

/// The first number behind standard input, output and error.
const FIRST_OTHER: RawFd = 3;

/// The system's list of descriptors.
const LIST: &str = "/dev/fd";

/// The first number that is not tried on a system without a complete list of descriptors.
const TRIED_MAX: RawFd = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal behind standard input, if the streams were taken from a terminal.
static INPUT_TERMINAL: OnceLock<OwnedFd> = OnceLock::new();

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
    if isatty(stdin()) {
        let _ = INPUT_TERMINAL.set(fcntl_dupfd_cloexec(stdin(), FIRST_OTHER)?);
    }
    let streams = [fcntl_dupfd_cloexec(stdin(), FIRST_OTHER)?, fcntl_dupfd_cloexec(stdout(), FIRST_OTHER)?];
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(streams)
}

/// Returns a descriptor of the terminal behind standard input, also after the streams were taken.
pub(crate) fn input_terminal() -> io::Result<OwnedFd> {
    match INPUT_TERMINAL.get() {
        Some(terminal) => Ok(fcntl_dupfd_cloexec(terminal, FIRST_OTHER)?),
        None if isatty(stdin()) => Ok(fcntl_dupfd_cloexec(stdin(), FIRST_OTHER)?),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is not a terminal")),
    }
}

/// The numbers of inherited descriptors, with the files that they refer to.
#[derive(Debug)]
pub(super) struct Found(Vec<(RawFd, FileId)>);

/// Device and inode.
type FileId = (libc::dev_t, libc::ino_t);

impl Found {
    pub(super) fn new() -> Found {
        let inherited = numbers(Path::new(LIST)).into_iter().filter_map(|number| Some((number, kept_by_exec(number)?)));
        Found(inherited.collect())
    }

    pub(super) fn close_unused(self) {
        for (number, file) in self.0 {
            if kept_by_exec(number) == Some(file) {
                // SAFETY: close(2) takes any integer and touches no memory. The number has no owner in this process: it
                // was open before, and the caller of `close_unused` promises that no part of the program has taken it.
                unsafe { libc::close(number) };
            }
        }
    }
}

/// Returns the numbers of all descriptors beyond the standard streams that may be open.
///
/// A complete list has at least the descriptor through which it is read. A list of the standard streams alone is
/// incomplete: FreeBSD has one where fdescfs(5) is not mounted.
fn numbers(list: &Path) -> Vec<RawFd> {
    let entries = fs::read_dir(list).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let listed = Vec::from_iter(names.filter(|&number| number >= FIRST_OTHER));
    if listed.is_empty() { (FIRST_OTHER..TRIED_MAX).collect() } else { listed }
}

/// Returns the file of a descriptor that is open and that exec(2) does not close.
fn kept_by_exec(number: RawFd) -> Option<FileId> {
    // SAFETY: F_GETFD takes any integer, touches no memory, and returns -1 for a descriptor that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat(2) takes any integer, and `stat` is valid for writes.
    let outcome = unsafe { libc::fstat(number, stat.as_mut_ptr()) };
    if outcome != 0 {
        return None;
    }
    // SAFETY: fstat(2) has succeeded, so it has filled in `stat`.
    let stat = unsafe { stat.assume_init() };
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_list_of_descriptors_is_not_believed() {
        let list = std::env::temp_dir().join(format!("ropewalk-descriptors-{}", std::process::id()));
        let _ = fs::remove_dir_all(&list);
        let all = Vec::from_iter(FIRST_OTHER..TRIED_MAX);
        assert_eq!(numbers(&list), all, "no list");
        fs::create_dir(&list).unwrap();
        for standard in ["0", "1", "2"] {
            fs::write(list.join(standard), "").unwrap();
        }
        assert_eq!(numbers(&list), all, "the standard streams alone");
        fs::write(list.join("7"), "").unwrap();
        assert_eq!(numbers(&list), [7]);
        fs::remove_dir_all(&list).unwrap();
    }
}
