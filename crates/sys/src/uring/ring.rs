//! The pair of queues that is shared with the kernel.
//!
//! Entries are collected in private memory and reach the shared queue only on the way into the kernel. In the child of
//! a fork the shared memory is still the parent's, and must not be touched.
//!
//! Two set-ups:
//! - `Deferred`: completions are made only in `io_uring_enter` (DEFER_TASKRUN), by the thread that entered first
//!   (SINGLE_ISSUER). Without both flags a ring is slower than epoll. Another thread that enters gets EEXIST.
//! - `Plain`: any thread may enter, and completions are made while a host loop sleeps, so that the host loop wakes.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Parameters, Probe, opcode, squeue};

use crate::fork::forks;

/// The number of entries that one system call submits. Further calls submit the other entries.
const ENTRIES: u32 = 256;

/// Room for completions between two turns, because a multishot receive completes without a new submission.
const COMPLETIONS: u32 = 4096;

/// The set-up of an instance.
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

/// The outcome of an enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Done,
    Interrupted,
}

pub(super) struct Ring {
    io: IoUring,
    setup: Setup,
    /// False until the first wait: an instance that is not enabled belongs to no thread.
    enabled: bool,
    queued: Vec<squeue::Entry>,
    /// Flags of every enter.
    flags: EnterFlags,
    /// The number of forks when the instance was opened. In a forked child the present number is larger.
    forks: u64,
}

impl Ring {
    pub(super) fn open(setup: Setup) -> io::Result<Ring> {
        Ring::with_completions(setup, COMPLETIONS)
    }

    /// Opens an instance whose completion queue has this many places.
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
        // Without this flag the system counts an idle loop as waiting for a disk.
        flags.set(EnterFlags::NO_IOWAIT, io.params().is_feature_no_iowait());
        let ring = Ring { io, setup, enabled: setup == Setup::Plain, queued: Vec::new(), flags, forks: forks() };
        ring.check_enter()?;
        if setup == Setup::Deferred {
            check_enable()?;
        }
        Ok(ring)
    }

    /// Checks that an enter is allowed: a sandbox may allow the set-up and deny the rest.
    fn check_enter(&self) -> io::Result<()> {
        // SAFETY: nothing is submitted, so no memory of ours is read.
        let outcome = unsafe { self.io.submitter().enter::<()>(0, 0, 0, None) };
        match outcome {
            Ok(_) => Ok(()),
            // EBADFD means that the call is allowed: it fails only because the instance is not enabled yet.
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(()),
            Err(error) => Err(explained("io_uring_enter", error)),
        }
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup
    }

    /// Returns whether an enter was refused because another thread entered first.
    pub(super) fn is_anothers(&self, error: &io::Error) -> bool {
        self.setup == Setup::Deferred && error.raw_os_error() == Some(libc::EEXIST)
    }

    /// Returns whether this is a forked child that has not opened an instance of its own.
    pub(super) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Queues an entry for the next enter.
    ///
    /// The memory that the entry points to must stay valid until an enter has submitted the entry or, for a multishot
    /// operation, until the last completion.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        self.queued.push(entry);
    }

    /// Returns whether one enter submits everything.
    pub(super) fn fits(&self) -> bool {
        self.queued.len() <= self.io.params().sq_entries() as usize
    }

    /// Returns whether another enter must submit or fetch something.
    pub(super) fn is_behind(&mut self) -> bool {
        let submission = self.io.submission();
        !self.queued.is_empty() || !submission.is_empty() || submission.cq_overflow()
    }

    /// Submits as many entries as one system call takes and lets the kernel make completions. With a `wait`, blocks
    /// until there is a completion or the time is over.
    ///
    /// # Errors
    /// EEXIST: the instance belongs to another thread, and no entry was submitted. EBUSY, EAGAIN: completions must be
    /// taken first. Others: the instance is unusable.
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
        // SAFETY: the caller of `push` keeps the memory of its entries valid. The arguments and their time outlive the
        // call, and their size is that of the type. Without EXT_ARG they stand for no signal mask, so they are not
        // passed.
        let outcome =
            unsafe { self.io.submitter().enter(to_submit, want, flags.bits(), (want > 0).then_some(&arguments)) };
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME), _)) => Ok(Entered::Done),
            Err((Some(libc::EINTR), _)) => Ok(Entered::Interrupted),
            Err((_, error)) => Err(error),
        }
    }

    /// Moves entries into the shared queue, and returns the number of entries there.
    fn fill(&mut self) -> u32 {
        let mut submission = self.io.submission();
        let room = submission.capacity() - submission.len();
        let mut count = room.min(self.queued.len());
        let is_linked = |next: &squeue::Entry| next.get_opcode() == u32::from(opcode::LinkTimeout::CODE);
        if self.queued.get(count).is_some_and(is_linked) {
            // A linked operation must be submitted with its timeout, so both wait for the next enter.
            count -= 1;
        }
        // SAFETY: the caller of `push` keeps the memory of its entries valid.
        let pushed = unsafe { submission.push_multiple(&self.queued[..count]) };
        if pushed.is_ok() {
            self.queued.drain(..count);
        }
        submission.len() as u32
    }

    /// Takes all completions.
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

/// Checks that a sandbox allows enabling an instance. The first wait enables the instance, and a refusal at that time
/// would come too late. The check passes an invalid descriptor, for which the kernel returns EBADF.
fn check_enable() -> io::Result<()> {
    // linux/io_uring.h
    const REGISTER_ENABLE_RINGS: libc::c_uint = 12;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: no memory is passed, and -2 is not a descriptor. (-1 has a meaning of its own since Linux 6.13.)
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

/// All operations that this provider uses.
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

/// Explains a refusal to a caller that asked for io_uring by name.
pub(super) fn explained(call: &str, error: io::Error) -> io::Error {
    let meaning = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "denied by kernel.io_uring_disabled or by a sandbox: set kernel.io_uring_disabled to 0 with sysctl, or allow the \
             calls of io_uring in the container's seccomp filter"
        }
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

    /// io_uring_enter(2), IOSQE_IO_LINK: a timeout without its operation is invalid, and the wait would never end.
    #[test]
    fn a_linked_timeout_is_submitted_with_its_operation() {
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

    /// An older kernel, or one built without some operation, is refused before anything depends on it.
    #[test]
    fn an_error_names_the_operation_that_the_kernel_lacks() {
        for (missing, name) in OPERATIONS {
            let error = first_missing(|code| code != missing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().ends_with(&format!("lacks the operation {name}")), "{error}");
        }
        first_missing(|_| true).unwrap();
    }
}
