//! The pair of queues that is shared with the kernel.
//!
//! Entries are collected in memory of our own and reach the shared queue only on the way into the kernel: in the child of
//! a fork the shared memory is still the parent's, and must not be touched.
//!
//! Two set-ups:
//! - `Deferred`: completions are made in `io_uring_enter` and nowhere else (DEFER_TASKRUN), by the one thread that first
//!   entered (SINGLE_ISSUER). Anything less loses to epoll. Another thread that enters is told EEXIST.
//! - `Plain`: any thread may enter, and completions are made while a host loop sleeps, so that it wakes.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Parameters, Probe, opcode, squeue};

use crate::fork::forks;

/// What one system call takes along; more is submitted by further calls.
const ENTRIES: u32 = 256;

/// Room for what arrives between two turns: a receive goes on completing by itself.
const COMPLETIONS: u32 = 4096;

/// How an instance is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    Deferred,
    Plain,
}

/// One entry of the completion queue.
#[derive(Clone, Copy)]
pub(super) struct Completion {
    pub(super) token: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// How an enter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Done,
    Interrupted,
}

pub(super) struct Ring {
    io: IoUring,
    setup: Setup,
    /// An instance that is not enabled yet belongs to no thread.
    enabled: bool,
    queued: Vec<squeue::Entry>,
    /// Whether the kernel can send from our memory.
    /// What every enter says.
    flags: EnterFlags,
    /// The process that the instance belongs to, as a count of forks.
    forks: u64,
}

impl Ring {
    pub(super) fn open(setup: Setup) -> io::Result<Ring> {
        Ring::with_completions(setup, COMPLETIONS)
    }

    /// An instance whose completion queue has that many places.
    pub(super) fn with_completions(setup: Setup, completions: u32) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_submit_all().setup_cqsize(completions);
        if setup == Setup::Deferred {
            builder.setup_single_issuer().setup_defer_taskrun().setup_r_disabled();
        }
        let io: IoUring =
            builder.build(ENTRIES.min(completions)).map_err(|error| explained("io_uring_setup", error))?;
        check_features(io.params())?;
        check_operations(&io)?;
        let mut flags = EnterFlags::GETEVENTS;
        // Without it an idle loop counts as waiting for a disk.
        flags.set(EnterFlags::NO_IOWAIT, io.params().is_feature_no_iowait());
        let ring = Ring { io, setup, enabled: setup == Setup::Plain, queued: Vec::new(), flags, forks: forks() };
        ring.check_enter()?;
        if setup == Setup::Deferred {
            check_enable()?;
        }
        Ok(ring)
    }

    /// A sandbox may allow the set-up and deny the rest.
    fn check_enter(&self) -> io::Result<()> {
        // SAFETY: nothing is submitted, so no memory of ours is read.
        let outcome = unsafe { self.io.submitter().enter::<()>(0, 0, 0, None) };
        match outcome {
            Ok(_) => Ok(()),
            // It is not enabled yet.
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(()),
            Err(error) => Err(explained("io_uring_enter", error)),
        }
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup
    }

    /// Whether an enter was refused because another thread entered first.
    pub(super) fn is_anothers(&self, error: &io::Error) -> bool {
        self.setup == Setup::Deferred && error.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether this is a child that has not made an instance of its own.
    pub(super) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Queues an entry for the next enter.
    ///
    /// Whatever it points to must stay valid until an enter has submitted it, or, for an operation that goes on in the
    /// kernel, until its last completion.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        self.queued.push(entry);
    }

    /// Whether one enter submits everything.
    pub(super) fn fits(&self) -> bool {
        self.queued.len() <= self.io.params().sq_entries() as usize
    }

    /// Whether there is something that another enter must submit or fetch.
    pub(super) fn is_behind(&mut self) -> bool {
        let submission = self.io.submission();
        !self.queued.is_empty() || !submission.is_empty() || submission.cq_overflow()
    }

    /// Submits as much as one system call takes, has the kernel make completions, and, with a `wait`, blocks until there is
    /// one or the time is over.
    ///
    /// # Errors
    /// EEXIST: the instance belongs to another thread, and nothing was submitted. EBUSY, EAGAIN: completions must be taken
    /// first. Others: the instance is of no use.
    pub(super) fn enter(&mut self, wait: Option<Option<Duration>>) -> io::Result<Entered> {
        if self.is_inherited() {
            return Err(io::Error::other("this io_uring instance belongs to the parent process"));
        }
        if !self.enabled {
            self.io.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        let to_submit = self.fill();
        let timespec;
        let mut arguments = SubmitArgs::new();
        let mut flags = self.flags | EnterFlags::EXT_ARG;
        if let Some(Some(timeout)) = wait {
            timespec = Timespec::from(timeout);
            arguments = arguments.timespec(&timespec);
        }
        let want = u32::from(wait.is_some());
        if want == 0 {
            flags.remove(EnterFlags::EXT_ARG);
        }
        // SAFETY: whoever pushed the entries keeps what they point to valid. The arguments and their time outlive the call,
        // and their size is that of the type; without EXT_ARG they stand for no signal mask, so they are not passed.
        let outcome =
            unsafe { self.io.submitter().enter(to_submit, want, flags.bits(), (want > 0).then_some(&arguments)) };
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME), _)) => Ok(Entered::Done),
            Err((Some(libc::EINTR), _)) => Ok(Entered::Interrupted),
            Err((_, error)) => Err(error),
        }
    }

    /// Moves entries into the shared queue, and says how many are in it.
    fn fill(&mut self) -> u32 {
        let mut submission = self.io.submission();
        let room = submission.capacity() - submission.len();
        let mut count = room.min(self.queued.len());
        let is_linked = |next: &squeue::Entry| next.get_opcode() == u32::from(opcode::LinkTimeout::CODE);
        if self.queued.get(count).is_some_and(is_linked) {
            // A chain ends with its enter: what the timeout is for waits for it.
            count -= 1;
        }
        // SAFETY: whoever pushed the entries keeps what they point to valid.
        let pushed = unsafe { submission.push_multiple(&self.queued[..count]) };
        if pushed.is_ok() {
            self.queued.drain(..count);
        }
        submission.len() as u32
    }

    /// Takes everything out of the completion queue.
    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        if self.is_inherited() {
            return;
        }
        completions.extend(self.io.completion().map(|entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    pub(super) fn fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }
}

/// An instance is enabled by the thread that first waits, which is too late to hear that a sandbox denies it. It is asked about
/// no instance at all, which the kernel answers with EBADF.
fn check_enable() -> io::Result<()> {
    // linux/io_uring.h
    const REGISTER_ENABLE_RINGS: libc::c_uint = 12;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: no memory is passed, and -2 is no descriptor; -1 means something of its own since Linux 6.13.
    let outcome = unsafe { libc::syscall(libc::SYS_io_uring_register, -2, REGISTER_ENABLE_RINGS, nothing, 0) };
    let error = io::Error::last_os_error();
    if outcome < 0 && error.raw_os_error() != Some(libc::EBADF) {
        return Err(explained("io_uring_register", error));
    }
    Ok(())
}

fn check_features(parameters: &Parameters) -> io::Result<()> {
    let features = [
        (parameters.is_feature_ext_arg(), "a timeout for each wait"),
        (parameters.is_feature_nodrop(), "a completion queue that loses nothing"),
        (parameters.is_feature_skip_cqe_on_success(), "operations that are silent about success"),
    ];
    match features.iter().find(|(present, _)| !present) {
        Some((_, missing)) => Err(unsupported(&format!("this kernel's io_uring lacks {missing}"))),
        None => Ok(()),
    }
}

/// Every operation that this provider asks for.
const OPERATIONS: [(u8, &str); 6] = [
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::LinkTimeout::CODE, "LINK_TIMEOUT"),
    (opcode::Nop::CODE, "NOP"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
];

fn check_operations(io: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe).map_err(|error| explained("io_uring_register", error))?;
    first_missing(|code| probe.is_supported(code))
}

fn first_missing(is_supported: impl Fn(u8) -> bool) -> io::Result<()> {
    match OPERATIONS.iter().find(|(code, _)| !is_supported(*code)) {
        Some((_, name)) => Err(unsupported(&format!("this kernel's io_uring lacks the operation {name}"))),
        None => Ok(()),
    }
}

/// What a refusal means, for whoever asked for io_uring by its name.
pub(super) fn explained(call: &str, error: io::Error) -> io::Error {
    let meaning = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "denied by kernel.io_uring_disabled or by a sandbox",
        Some(libc::ENOSYS) => "this kernel has no io_uring, or a sandbox hides it",
        Some(libc::ENOMEM) => "not enough memory may be locked, see RLIMIT_MEMLOCK",
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.1 is needed",
        _ => return io::Error::new(error.kind(), format!("{call}: {error}")),
    };
    io::Error::new(error.kind(), format!("{call}: {meaning} ({error})"))
}

fn unsupported(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// io_uring_enter(2), IOSQE_IO_LINK: a timeout that comes without what it is for is invalid, and that has no end.
    #[test]
    fn a_linked_timeout_leaves_together_with_what_it_is_for() {
        static LONG: Timespec = Timespec::new().sec(30);
        for before in 0..2 {
            let mut ring = Ring::with_completions(Setup::Plain, 8).unwrap();
            for _ in 0..before {
                ring.push(opcode::Nop::new().build());
            }
            for _ in 0..8 {
                ring.push(opcode::Nop::new().build().flags(squeue::Flags::IO_LINK));
                ring.push(opcode::LinkTimeout::new(&raw const LONG).build().user_data(1));
            }
            let mut completions = Vec::new();
            while completions.len() < before + 16 {
                ring.enter(None).unwrap();
                ring.reap(&mut completions);
            }
            let timeouts: Vec<_> = completions.iter().filter(|completion| completion.token == 1).collect();
            assert_eq!(timeouts.len(), 8);
            assert!(timeouts.iter().all(|timeout| timeout.result == -libc::ECANCELED), "behind {before} others");
        }
    }

    /// LESSONS of others: a kernel that is older, or was built without some of it, is refused before anything depends on it.
    #[test]
    fn a_kernel_that_lacks_any_operation_is_refused_and_the_operation_named() {
        for (missing, name) in OPERATIONS {
            let error = first_missing(|code| code != missing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().ends_with(&format!("lacks the operation {name}")), "{error}");
        }
        first_missing(|_| true).unwrap();
    }
}
