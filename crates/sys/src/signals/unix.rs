//! sigaction(2).
//!
//! Rule 1: the signal handler touches atomics, reads the clock and calls the wakers. It takes no lock and allocates
//! nothing. Only for a loop that is stuck it changes a disposition.
//! Rule 2: the signal handler walks a list without a lock, so nodes are never freed, only reused by the next watch.
//! Rule 3: a waker is freed only when no signal handler can hold it. The thread that takes it out of its node waits
//! until the node has no visitors. This ends, because a signal handler visits briefly and never waits.
//! Rule 4: everything else happens under the lock of `DISPOSITIONS`.

use std::io;
use std::iter;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::terminal::restore_now;
use crate::waker::Waker;

/// The terminal has gone. For a program without a terminal: a request to reload its files, signal(7).
pub const SIGHUP: i32 = libc::SIGHUP;
/// A signal for the program's own use, signal(7).
pub const SIGUSR1: i32 = libc::SIGUSR1;
/// The size of the terminal has changed, signal(7).
pub const SIGWINCH: i32 = libc::SIGWINCH;
/// An interrupt from the keyboard, signal(7).
pub const SIGINT: i32 = libc::SIGINT;
/// A request to exit, signal(7).
pub const SIGTERM: i32 = libc::SIGTERM;
/// The signals by which a user or a service supervisor asks a program to stop.
pub const STOP_SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// The signals by which the system reports a fault of the running instruction. The instruction runs again when a signal
/// handler returns, and fails again, so a thread that only records the signal would never leave it.
const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// The time after which a signal that was not taken shows that the loop is stuck. A supervisor may send a signal to the
/// process and to its group at once.
const STUCK_MILLIS: u64 = 100;

/// The number of bits in a set of signals. All systems have at most 64 signals, numbered from 1.
const SIGNALS: usize = 64;

static NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
static DISPOSITIONS: Mutex<[Disposition; SIGNALS]> =
    Mutex::new([const { Disposition { watches: 0, before: None } }; SIGNALS]);

/// A node of the list that the signal handler walks. It refers to one watch, or is free for the next.
struct Node {
    next: Option<&'static Node>,
    waker: AtomicPtr<Waker>,
    wanted: AtomicU64,
    arrived: AtomicU64,
    /// The time at which the oldest signal in `arrived` came, in milliseconds.
    since: AtomicU64,
    /// Whether a further signal kills the process while `arrived` is not taken.
    ends_stuck: AtomicBool,
    visitors: AtomicUsize,
}

/// The state of one signal.
struct Disposition {
    watches: usize,
    /// The disposition before the first watch.
    before: Option<libc::sigaction>,
}

pub(super) struct Watch {
    node: &'static Node,
}

impl Watch {
    pub(super) fn new(signals: &[i32], waker: Waker) -> io::Result<Watch> {
        if let Some(fault) = signals.iter().find(|signal| FAULTS.contains(signal)) {
            let message = format!(
                "signal {fault} reports a fault of an instruction, which would fail again and again: let the signal end \
                 the process, or install a handler that does not return, sigaction(2)"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut dispositions = lock();
        let watch = Watch { node: free_node() };
        watch.node.arrived.store(0, Ordering::SeqCst);
        watch.node.ends_stuck.store(false, Ordering::SeqCst);
        watch.node.wanted.store(0, Ordering::SeqCst);
        // Stored before the first disposition is set, because a signal may arrive at once.
        watch.node.waker.store(Box::into_raw(Box::new(waker)), Ordering::SeqCst);
        for &signal in signals {
            if let Err(error) = watch.add(signal, &mut dispositions) {
                drop(dispositions);
                return Err(error);
            }
        }
        Ok(watch)
    }

    pub(super) fn end_stuck_process(&self) {
        self.node.ends_stuck.store(true, Ordering::SeqCst);
    }

    pub(super) fn take(&self) -> Option<i32> {
        let arrived = self.node.arrived.load(Ordering::SeqCst);
        if arrived == 0 {
            return None;
        }
        let lowest = arrived & arrived.wrapping_neg();
        self.node.arrived.fetch_and(!lowest, Ordering::SeqCst);
        Some(lowest.trailing_zeros() as i32 + 1)
    }

    fn add(&self, signal: i32, dispositions: &mut [Disposition; SIGNALS]) -> io::Result<()> {
        let place = usize::try_from(signal).ok().filter(|place| (1..=SIGNALS).contains(place));
        let place = place.map(|signal| signal - 1).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let bit = 1 << place;
        if self.node.wanted.load(Ordering::SeqCst) & bit != 0 {
            return Ok(());
        }
        // Set first, because the signal may arrive as soon as the disposition is installed.
        self.node.wanted.fetch_or(bit, Ordering::SeqCst);
        let outcome = dispositions[place].take_over(signal);
        if !matches!(outcome, Ok(true)) {
            self.node.wanted.fetch_and(!bit, Ordering::SeqCst);
        }
        outcome.map(drop)
    }
}

impl Disposition {
    /// Counts one more watch, and installs the signal handler for the first. Returns false if the signal is ignored and
    /// stays so.
    fn take_over(&mut self, signal: i32) -> io::Result<bool> {
        if self.watches == 0 {
            let before = current(signal)?;
            if before.sa_sigaction == libc::SIG_IGN {
                return Ok(false);
            }
            set(signal, &ours())?;
            self.before = Some(before);
        }
        self.watches += 1;
        Ok(true)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut dispositions = lock();
        let wanted = self.node.wanted.load(Ordering::SeqCst);
        for (place, disposition) in dispositions.iter_mut().enumerate().filter(|(place, _)| wanted & 1 << place != 0) {
            disposition.watches -= 1;
            if disposition.watches == 0 {
                restore(place as i32 + 1, disposition.before.take());
            }
        }
        let waker = self.node.waker.swap(ptr::null_mut(), Ordering::SeqCst);
        while self.node.visitors.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
        // SAFETY: the pointer came from Box::into_raw in `new`. The node has lost the pointer, and every signal handler
        // that could have read it has left, because `visit` counts itself before it reads.
        drop(unsafe { Box::from_raw(waker) });
    }
}

impl Node {
    /// Notifies the watch of this node, if it has one, that a signal has arrived. Returns whether the signal kills the
    /// process, because the loop is stuck. Async-signal-safe.
    fn visit(&self, bit: u64, now: u64) -> bool {
        let mut is_stuck = false;
        // Sequentially consistent: either the drop above sees this visitor, or this visitor sees the null pointer.
        self.visitors.fetch_add(1, Ordering::SeqCst);
        let waker = self.waker.load(Ordering::SeqCst);
        if !waker.is_null() && self.wanted.load(Ordering::SeqCst) & bit != 0 {
            match self.arrived.fetch_or(bit, Ordering::SeqCst) {
                0 => self.since.store(now, Ordering::SeqCst),
                _ => {
                    let waits = now.saturating_sub(self.since.load(Ordering::SeqCst));
                    is_stuck = self.ends_stuck.load(Ordering::SeqCst) && waits >= STUCK_MILLIS;
                }
            }
            // SAFETY: `waker` is not null, and it is not freed while this visitor is counted.
            unsafe { &*waker }.wake();
        }
        self.visitors.fetch_sub(1, Ordering::SeqCst);
        is_stuck
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    // The interrupted code may be about to read errno, so it is restored below.
    let errno = errno::errno();
    let now = monotonic_millis();
    // Every node is visited.
    let is_stuck = nodes().filter(|node| node.visit(1 << (signal - 1), now)).count() > 0;
    if is_stuck {
        end_by(signal);
    }
    errno::set_errno(errno);
}

/// Kills the process by the default effect of `signal`. In its signal handler, this happens when the handler returns.
/// Async-signal-safe.
fn end_by(signal: libc::c_int) {
    restore_now();
    let mut default = blank();
    default.sa_sigaction = libc::SIG_DFL;
    // SAFETY: the default effect runs no code of this process.
    if check(unsafe { libc::sigaction(signal, &default, ptr::null_mut()) }).is_ok() {
        // SAFETY: raise(3) takes any number. The signal is blocked until the handler returns.
        unsafe { libc::raise(signal) };
    }
}

pub(super) fn end_process(signal: i32) -> ! {
    end_by(signal);
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(128 + signal) }
}

/// Returns the monotonic time. Async-signal-safe: clock_gettime(2).
fn monotonic_millis() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes. On failure it stays zero.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Returns every node. Async-signal-safe.
fn nodes() -> impl Iterator<Item = &'static Node> {
    // SAFETY: the pointer is null or that of a node that was filled in before it was published, and nodes are leaked.
    let first = unsafe { NODES.load(Ordering::Acquire).as_ref::<'static>() };
    iter::successors(first, |node| node.next)
}

/// Returns a node without a watch. The caller holds the lock.
fn free_node() -> &'static Node {
    if let Some(node) = nodes().find(|node| node.waker.load(Ordering::SeqCst).is_null()) {
        return node;
    }
    let node = Box::leak(Box::new(Node {
        next: nodes().next(),
        waker: AtomicPtr::new(ptr::null_mut()),
        wanted: AtomicU64::new(0),
        arrived: AtomicU64::new(0),
        since: AtomicU64::new(0),
        ends_stuck: AtomicBool::new(false),
        visitors: AtomicUsize::new(0),
    }));
    NODES.store(node, Ordering::Release);
    node
}

fn lock() -> MutexGuard<'static, [Disposition; SIGNALS]> {
    DISPOSITIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ours() -> libc::sigaction {
    let mut action = blank();
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SA_RESTART: other threads' system calls continue. SA_ONSTACK: threads of other languages may have small stacks.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    action
}

/// Restores a signal's earlier disposition, unless another one was installed meanwhile.
fn restore(signal: i32, before: Option<libc::sigaction>) {
    let is_ours = current(signal).is_ok_and(|action| action.sa_sigaction == ours().sa_sigaction);
    if let Some(before) = before.filter(|_| is_ours) {
        // The disposition was valid before, so setting it again does not fail.
        let _ = set(signal, &before);
    }
}

fn current(signal: i32) -> io::Result<libc::sigaction> {
    let mut action = blank();
    // SAFETY: the null pointer says that nothing is set, and `action` is valid for writes.
    check(unsafe { libc::sigaction(signal, ptr::null(), &mut action) })?;
    Ok(action)
}

fn set(signal: i32, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is either `on_signal`, which is async-signal-safe, or the earlier disposition.
    check(unsafe { libc::sigaction(signal, action, ptr::null_mut()) })
}

fn blank() -> libc::sigaction {
    // SAFETY: all fields of sigaction are integers, sets of bits and optional functions: zero is a value of each (an
    // empty set).
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
