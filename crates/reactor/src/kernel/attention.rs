//! Requests for the features' part of a turn, from the loop's thread, from other threads, and from signal handlers.
//!
//! A turn calls the hooks of the features only after a request. A turn without a request costs one load.

use ropewalk_sys::{Wake, Waker};

use super::sync::{AtomicBool, Ordering};
use super::sync::{ThreadId, thread};

/// The part of a reactor by which any thread may request a call of the features.
pub(crate) struct Attention {
    /// Whether the features must be called in the next turn.
    asked: AtomicBool,
    /// Whether the loop sleeps: from the end of `prepare` until `dispatch` or the next `prepare`.
    asleep: AtomicBool,
    owner: ThreadId,
    waker: Waker,
}

impl Attention {
    pub(super) fn new(waker: Waker) -> Attention {
        let (asked, asleep) = (AtomicBool::new(false), AtomicBool::new(false));
        Attention { asked, asleep, owner: thread::current().id(), waker }
    }

    /// Requests a call of the features in the next turn, and wakes the loop if it sleeps. May be called from any
    /// thread.
    ///
    /// The reactor's own thread may also make a request while the reactor sleeps, because a host loop runs other code
    /// meanwhile.
    pub(crate) fn ask(&self) {
        self.note();
        if self.is_asleep() || thread::current().id() != self.owner {
            self.waker.wake();
        }
    }

    /// Requests a call of the features in the next turn, without waking the loop.
    pub(super) fn note(&self) {
        // Release ordering: the hooks must see the work that the caller queued before the request.
        self.asked.store(true, Ordering::Release);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns whether the features must be called, and clears the request.
    pub(super) fn take(&self) -> bool {
        self.is_asked() && self.asked.swap(false, Ordering::Acquire)
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    pub(super) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }
}

/// Signal handlers wake the reactor through this implementation.
impl Wake for Attention {
    fn wake(&self) {
        self.note();
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_request_wakes_a_loop_that_sleeps_or_runs_in_another_thread() {
        let wakes = Arc::new(Count::default());
        let attention = Arc::new(Attention::new(Waker::new(wakes.clone())));
        assert!(!attention.take());
        attention.ask();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0); // the loop checks requests before it sleeps
        assert!(attention.take());
        assert!(!attention.take());
        attention.set_asleep(true);
        attention.ask();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        attention.set_asleep(false);
        let other = attention.clone();
        thread::spawn(move || other.ask()).join().unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        assert!(attention.take());
    }
}
