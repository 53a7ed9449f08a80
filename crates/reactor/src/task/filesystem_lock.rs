//! Waiting for a lock of another process: `DeferredFilesystemLock`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, Resolver, fail, succeed};
use ropewalk_sys::FileLock;

use super::AddTimeout;
use crate::interfaces::time::DelayedCall;
use crate::kernel::{Reactor, WeakReactor};

/// The interval between attempts. No operating system reports when a lock is released.
const INTERVAL: Duration = Duration::from_secs(1);

/// A lock between processes, at a path of the file system, with a Deferred to wait for the lock.
///
/// The lock of a process that has ended counts as free. Dropping this value releases the lock. These locks work on Unix
/// only.
///
/// The methods may be called from any callback on the reactor's thread.
///
/// ```
/// # if cfg!(unix) {
/// use std::time::Duration;
/// use ropewalk::task::{DeferredFilesystemLock, TimedOut};
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let path = std::env::temp_dir().join(format!("ropewalk-example-{}", std::process::id()));
/// let ours = DeferredFilesystemLock::new(&clock, &path);
/// assert!(ours.defer_until_locked(None).is_done());
///
/// let theirs = DeferredFilesystemLock::new(&clock, &path);
/// let waiting = theirs.defer_until_locked(Some(Duration::from_secs(60)));
/// ours.unlock();
/// clock.advance(Duration::from_secs(1));
/// waiting.try_result().unwrap().unwrap();
/// # }
/// ```
pub struct DeferredFilesystemLock(Rc<Lock>);

struct Lock {
    reactor: WeakReactor,
    path: PathBuf,
    held: RefCell<Option<FileLock>>,
    waiting: RefCell<Option<(Resolver<()>, DelayedCall)>>,
    trying: Cell<bool>,
}

impl DeferredFilesystemLock {
    /// Creates a lock at `path`, which follows the clock of `reactor`. The file exists while the lock is held.
    pub fn new(reactor: &Reactor, path: impl AsRef<Path>) -> DeferredFilesystemLock {
        DeferredFilesystemLock(Rc::new(Lock {
            reactor: reactor.downgrade(),
            path: path.as_ref().to_owned(),
            held: RefCell::default(),
            waiting: RefCell::default(),
            trying: Cell::new(false),
        }))
    }

    /// Waits until this value holds the lock. Tries at once, and then every second. Completes at once if this value
    /// already holds the lock.
    ///
    /// The Deferred fails with [`TimedOut`](super::TimedOut) when `timeout` has passed, with [`AlreadyTryingToLock`]
    /// while an earlier call waits, and with an [`io::Error`] when no lock can be made at that path. Cancelling the
    /// Deferred stops the waiting, and so does dropping this value.
    #[track_caller]
    pub fn defer_until_locked(&self, timeout: Option<Duration>) -> Deferred<()> {
        if self.is_locked() {
            return succeed(());
        }
        let Some(reactor) = self.0.reactor.upgrade() else { return fail(crate::Error::Closed) };
        if self.0.trying.replace(true) {
            return fail(AlreadyTryingToLock);
        }
        let lock = Rc::downgrade(&self.0);
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            if let Some(lock) = lock.upgrade() {
                lock.stop_waiting();
            }
        });
        self.0.attempt(&reactor, resolver);
        match timeout {
            Some(delay) if !deferred.is_done() => deferred.add_timeout(delay, &reactor),
            _ => deferred,
        }
    }

    /// Returns whether this value holds the lock.
    pub fn is_locked(&self) -> bool {
        self.0.held.borrow().is_some()
    }

    /// Releases the lock. No effect when this value does not hold it.
    pub fn unlock(&self) {
        self.0.held.take();
    }
}

impl Lock {
    fn attempt(self: &Rc<Lock>, reactor: &Reactor, resolver: Resolver<()>) {
        let outcome = match FileLock::acquire(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.try_later(reactor, resolver),
            Ok(lock) => {
                *self.held.borrow_mut() = Some(lock);
                Ok(())
            }
            Err(error) => Err(Failure::from(error)),
        };
        self.trying.set(false);
        let _ = resolver.fire(outcome);
    }

    fn try_later(self: &Rc<Lock>, reactor: &Reactor, resolver: Resolver<()>) {
        let lock = Rc::downgrade(self);
        let call = reactor.call_later(INTERVAL, move |reactor| {
            let Some(lock) = lock.upgrade() else { return };
            let waiting = lock.waiting.take();
            if let Some((resolver, _)) = waiting {
                lock.attempt(reactor, resolver);
            }
        });
        *self.waiting.borrow_mut() = Some((resolver, call));
    }

    fn stop_waiting(&self) {
        self.trying.set(false);
        let waiting = self.waiting.take();
        if let Some((_, call)) = waiting {
            let _ = call.cancel();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

impl fmt::Debug for DeferredFilesystemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("DeferredFilesystemLock");
        this.field("path", &self.0.path).field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

/// The error of [`DeferredFilesystemLock::defer_until_locked`] while an earlier call waits.
///
/// ```
/// # if cfg!(unix) {
/// use ropewalk::task::{AlreadyTryingToLock, DeferredFilesystemLock};
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let path = std::env::temp_dir().join(format!("ropewalk-example-twice-{}", std::process::id()));
/// let ours = DeferredFilesystemLock::new(&clock, &path);
/// assert!(ours.defer_until_locked(None).is_done() && ours.is_locked());
///
/// let theirs = DeferredFilesystemLock::new(&clock, &path);
/// let _waiting = theirs.defer_until_locked(None);
/// let second = theirs.defer_until_locked(None);
/// assert!(second.try_result().unwrap().unwrap_err().check::<AlreadyTryingToLock>());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyTryingToLock;

impl fmt::Display for AlreadyTryingToLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already waiting for the lock: use the Deferred of the first call")
    }
}

impl Error for AlreadyTryingToLock {}

#[cfg(all(test, unix))]
mod tests {
    use ropewalk_proto::{Abandoned, Cancelled};

    use super::super::TimedOut;
    use super::*;
    use crate::testing::Clock;

    /// Creates two locks at one path, the first of which is held.
    fn contenders(name: &str) -> (Clock, DeferredFilesystemLock, DeferredFilesystemLock) {
        let clock = Clock::new();
        let path = std::env::temp_dir().join(format!("ropewalk-deferred-lock-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (first, second) = (DeferredFilesystemLock::new(&clock, &path), DeferredFilesystemLock::new(&clock, &path));
        first.defer_until_locked(None).try_result().unwrap().unwrap();
        (clock, first, second)
    }

    fn failure_of(deferred: Deferred<()>) -> Failure {
        deferred.try_result().expect("a result").expect_err("a failure")
    }

    #[test]
    fn a_held_lock_is_tried_every_second_until_it_is_free() {
        let (clock, first, second) = contenders("wait");
        let waiting = second.defer_until_locked(None);
        clock.advance(10 * INTERVAL);
        assert!(!waiting.is_done());
        drop(first);
        clock.advance(INTERVAL);
        waiting.try_result().unwrap().unwrap();
        assert!(second.is_locked());
        assert!(clock.get_delayed_calls().is_empty());
        second.unlock();
    }

    #[test]
    fn a_wait_may_follow_a_wait_that_timed_out() {
        let (clock, first, second) = contenders("timeout");
        let waiting = second.defer_until_locked(Some(3 * INTERVAL));
        clock.advance(3 * INTERVAL);
        assert!(failure_of(waiting).check::<TimedOut>());
        assert!(clock.get_delayed_calls().is_empty());
        first.unlock();
        second.defer_until_locked(Some(INTERVAL)).try_result().unwrap().unwrap();
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_second_call_while_the_first_waits_fails() {
        let (_clock, _first, second) = contenders("twice");
        let waiting = second.defer_until_locked(None);
        assert!(failure_of(second.defer_until_locked(None)).check::<AlreadyTryingToLock>());
        assert!(!waiting.is_done());
        waiting.add_errback(drop);
    }

    #[test]
    fn cancelling_or_dropping_stops_the_waiting() {
        let (clock, _first, second) = contenders("cancel");
        let waiting = second.defer_until_locked(None);
        waiting.cancel();
        assert!(failure_of(waiting).check::<Cancelled>());
        assert!(clock.get_delayed_calls().is_empty());
        let waiting = second.defer_until_locked(None);
        drop(second);
        assert!(failure_of(waiting).check::<Abandoned>());
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn an_unusable_path_is_an_error() {
        let clock = Clock::new();
        let lock = DeferredFilesystemLock::new(&clock, "/nonexistent/lock");
        assert!(failure_of(lock.defer_until_locked(None)).check::<io::Error>());
    }
}
