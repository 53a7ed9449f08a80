//! The code of the child, between clone(2) and exec(2).
//!
//! Rule 1: it runs in the memory of this process, so it allocates nothing, takes no lock and does not panic.
//! Rule 2: signals are blocked until each of them has its default effect. Otherwise a signal handler of this process
//! would run in the child.
//! Rule 3: it changes its identity by bare system calls. The functions of the C library change all threads, and would
//! find those of this process.

use std::io;
use std::ptr;

use rustix::process::getppid;
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::image::{Image, ParentDeath};
use crate::seam::{ProcessGroup, SpawnStep};

/// The errno of a failed call.
#[derive(Clone, Copy)]
pub(super) struct Errno(pub(super) i32);

pub(super) type Outcome<T = ()> = Result<T, Errno>;

/// A step that failed in the child.
pub(super) struct Failure {
    pub(super) step: SpawnStep,
    pub(super) errno: i32,
    /// The place of the file that could not be executed, in the image's list.
    pub(super) candidate: usize,
}

/// All signals, as the system counts them.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// Becomes the program. Returns only if that fails.
pub(super) fn run(image: &mut Image) -> Failure {
    let error = match prepare(image) {
        Ok(()) => return execute(image),
        Err(error) => error,
    };
    Failure { step: error.0, errno: error.1.0, candidate: 0 }
}

fn prepare(image: &mut Image) -> Result<(), (SpawnStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    reset_signals(image.keeps_ignored);
    enter_group(image.group).map_err(at(SpawnStep::Group))?;
    image.terminal.map_or(Ok(()), take_terminal).map_err(at(SpawnStep::Terminal))?;
    image.numbers.apply().map_err(at(SpawnStep::Numbers))?;
    set_limits(image).map_err(at(SpawnStep::Limits))?;
    change_identity(image).map_err(at(SpawnStep::Identity))?;
    // A new identity clears the signal.
    image.parent_death.map_or(Ok(()), end_with_parent).map_err(at(SpawnStep::ParentDeath))?;
    enter_directory(image).map_err(at(SpawnStep::Directory))?;
    set_signal_mask(0);
    Ok(())
}

/// A disposition as the system takes it: the handler first, which is SIG_DFL if all words are zero. The system's
/// structure is shorter.
type Disposition = [usize; 8];

/// Gives each signal its default effect. The system refuses the two that cannot be changed.
///
/// By the bare system call: the function of the C library refuses two signals, and takes a lock for SIGABRT.
fn reset_signals(keeps_ignored: bool) {
    for signal in SIGNALS {
        let mut present: Disposition = [0; 8];
        change_disposition(signal, None, &mut present);
        let handler = present[0] as libc::sighandler_t;
        if handler != libc::SIG_DFL && !(keeps_ignored && handler == libc::SIG_IGN) {
            change_disposition(signal, Some(&[0; 8]), &mut present);
        }
    }
}

fn change_disposition(signal: i32, new: Option<&Disposition>, old: &mut Disposition) {
    let new = new.map_or(ptr::null(), |new| new.as_ptr());
    // SAFETY: both are null or valid, and longer than the system's structure. `new` holds no handler. The dispositions
    // of the child are its own.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old.as_mut_ptr(), size_of::<u64>()) };
}

fn enter_group(group: ProcessGroup) -> Outcome {
    match group {
        ProcessGroup::Inherited => Ok(()),
        // SAFETY: setpgid(2) touches no memory.
        ProcessGroup::New => check(unsafe { libc::setpgid(0, 0) }).map(drop),
        // SAFETY: setsid(2) touches no memory.
        ProcessGroup::Session => check(unsafe { libc::setsid() }).map(drop),
    }
}

/// Makes `terminal` the controlling terminal of the new session.
fn take_terminal(terminal: libc::c_int) -> Outcome {
    // SAFETY: TIOCSCTTY takes a number, and touches no memory.
    check(unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) }).map(drop)
}

fn set_limits(image: &Image) -> Outcome {
    for (resource, limit) in &image.limits {
        let limit = libc::rlimit { rlim_cur: *limit as libc::rlim_t, rlim_max: *limit as libc::rlim_t };
        // SAFETY: `limit` is valid for reads.
        check(unsafe { libc::setrlimit(*resource as _, &raw const limit) })?;
    }
    if let Some(umask) = image.umask {
        // SAFETY: umask(2) touches no memory and always succeeds.
        unsafe { libc::umask(umask as libc::mode_t) };
    }
    Ok(())
}

/// Groups first, and the user last: afterwards the right to change them is gone.
fn change_identity(image: &Image) -> Outcome {
    let number = |error: rustix::io::Errno| Errno(error.raw_os_error());
    if let Some(groups) = &image.groups {
        set_thread_groups(groups).map_err(number)?;
    }
    if let Some(gid) = image.gid {
        set_thread_gid(gid).map_err(number)?;
    }
    image.uid.map_or(Ok(()), set_thread_uid).map_err(number)
}

/// Asks for a signal when the parent dies. Fails if the parent has died before: then no signal would come.
fn end_with_parent(death: ParentDeath) -> Outcome {
    // SAFETY: PR_SET_PDEATHSIG takes a number, and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, death.signal as libc::c_ulong, 0, 0, 0) })?;
    match getppid() {
        Some(parent) if parent != death.parent => Err(Errno(libc::ESRCH)),
        // None is a parent in another namespace of processes.
        _ => Ok(()),
    }
}

fn enter_directory(image: &Image) -> Outcome {
    let Some(directory) = &image.directory else { return Ok(()) };
    // SAFETY: the path ends in a zero.
    check(unsafe { libc::chdir(directory.as_ptr()) }).map(drop)
}

/// Tries each candidate, as execvp(3) does.
fn execute(image: &Image) -> Failure {
    let mut failure = Failure { step: SpawnStep::Execute, errno: libc::ENOENT, candidate: 0 };
    for (candidate, path) in image.candidates.iter().enumerate() {
        // SAFETY: the path ends in a zero, and both lists end in a null pointer. On success the call does not return.
        let outcome = check(unsafe { libc::execve(path.as_ptr(), image.argv.as_ptr(), image.envp.as_ptr()) });
        let errno = outcome.err().map_or(0, |errno| errno.0);
        match errno {
            // A file of this name further on may be another one.
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => failure = Failure { errno, candidate, ..failure },
            _ => return Failure { errno, candidate, ..failure },
        }
    }
    failure
}

/// Blocks the signals whose bits are set, and returns those that were blocked before.
///
/// The function of the C library would leave out the two signals that the library uses itself.
pub(super) fn set_signal_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    let bytes = size_of::<u64>();
    // SAFETY: both sets are valid, and have the given size.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut before, bytes) };
    before
}

pub(super) fn check(outcome: libc::c_int) -> Outcome<libc::c_int> {
    if outcome < 0 { Err(Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))) } else { Ok(outcome) }
}
