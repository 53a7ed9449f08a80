//! clone(2): makes the child, and returns when the child has become its program or has failed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::descriptors::process_descriptor;
use super::image::Image;
use super::stack::Stack;
use super::steps::{self, Failure, set_signal_mask};
use crate::seam::SpawnStep;

/// The number of times that a program is tried while another process has it open for writing. Such a process is often
/// a child that is about to execute another program, and has inherited the descriptor by which the program was written.
const BUSY_TRIES: u32 = 8;

/// The pause after the first try. Each pause is twice as long as the one before: 13 ms altogether.
const BUSY_PAUSE: Duration = Duration::from_micros(100);

pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) process: OwnedFd,
}

struct Launch<'a> {
    image: &'a mut Image,
    failure: Option<Failure>,
}

/// Starts the program of `image`.
pub(super) fn start(image: &mut Image, stack: &mut Stack) -> Result<Started, Failure> {
    let mut pause = BUSY_PAUSE;
    for _ in 1..BUSY_TRIES {
        match try_to_start(image, stack) {
            Err(failure) if failure.errno == libc::ETXTBSY => thread::sleep(pause),
            outcome => return outcome,
        }
        pause *= 2;
    }
    try_to_start(image, stack)
}

fn try_to_start(image: &mut Image, stack: &mut Stack) -> Result<Started, Failure> {
    let mut launch = Launch { image, failure: None };
    let mask = set_signal_mask(u64::MAX);
    let made = clone(&mut launch, stack);
    set_signal_mask(mask);
    let at_process = |error: io::Error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Failure { step: SpawnStep::Process, errno, candidate: 0 }
    };
    let (pid, number) = made.map_err(at_process)?;
    let process = process_descriptor(number).map_err(|error| {
        // Without a descriptor the child cannot be kept.
        end_by_number(pid);
        at_process(error)
    })?;
    match launch.failure {
        None => Ok(Started { pid, process }),
        Some(failure) => {
            // The child is about to exit, or has done so. If the system waits for children itself, this returns ECHILD.
            let _ = retry_on_intr(|| waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED));
            Err(failure)
        }
    }
}

/// Kills a child that has not been waited for, and waits for it.
fn end_by_number(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
        let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
    }
}

/// Returns the number of the child and its descriptor.
fn clone(launch: &mut Launch<'_>, stack: &mut Stack) -> io::Result<(i32, i32)> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let (argument, mut process) = (ptr::from_mut(launch), -1);
    let into = &raw mut process;
    // SAFETY: the child runs on `stack`, which nothing else uses, because this thread waits until the child has
    // executed a program or exited. `argument` and `into` are valid for that time. All signals are blocked.
    let pid = unsafe { libc::clone(child, stack.top(), flags, argument.cast(), into) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok((pid, process)) }
}

extern "C" fn child(launch: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone` passes a pointer to a `Launch` that nothing else uses until this process has ended.
    let launch = unsafe { &mut *launch.cast::<Launch<'_>>() };
    launch.failure = Some(steps::run(launch.image));
    // The C library passes this status to _exit(2), without the work that exit(3) does.
    127
}
