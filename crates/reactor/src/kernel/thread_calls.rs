//! Calls from other threads, on their way to the loop.

use std::collections::VecDeque;

use ropewalk_sys::Waker;

use super::sync::{AtomicBool, Ordering};
use super::sync::{Mutex, MutexGuard, PoisonError};

/// The queue of calls that wait for the next turn.
pub(crate) struct ThreadCalls<C: ?Sized> {
    queue: Mutex<Queue<C>>,
    /// Whether the queue has calls. The loop checks this in every turn, and locks the queue only if there are calls.
    waiting: AtomicBool,
    waker: Waker,
}

struct Queue<C: ?Sized> {
    calls: VecDeque<Box<C>>,
    closed: bool,
}

impl<C: ?Sized> ThreadCalls<C> {
    pub(super) fn new(waker: Waker) -> ThreadCalls<C> {
        let queue = Queue { calls: VecDeque::new(), closed: false };
        ThreadCalls { queue: Mutex::new(queue), waiting: AtomicBool::new(false), waker }
    }

    pub(crate) fn push(&self, call: Box<C>) {
        self.push_locked(self.lock(), call);
    }

    fn push_locked(&self, mut queue: MutexGuard<'_, Queue<C>>, call: Box<C>) {
        if queue.closed {
            drop(queue);
            return drop(call);
        }
        queue.calls.push_back(call);
        let first = queue.calls.len() == 1;
        self.waiting.store(true, Ordering::Release);
        drop(queue);
        // The first call in the queue has woken the loop, and the loop makes turns until the queue is empty. So this
        // call need not wake the loop.
        if first {
            self.waker.wake();
        }
    }

    /// Queues the call that `make` returns, unless `most` calls wait. Returns whether `make` was called.
    pub(crate) fn push_within(&self, most: usize, make: impl FnOnce() -> Box<C>) -> bool {
        let queue = self.lock();
        if queue.calls.len() >= most && !queue.closed {
            return false;
        }
        self.push_locked(queue, make());
        true
    }

    /// Wakes the loop from its present wait, or from the next.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns whether the queue has calls.
    pub(super) fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Moves the first `most` calls of the queue to `batch`. If the queue has at most `most` calls and `batch` is
    /// empty, the two are swapped instead, so that both keep their memory.
    pub(super) fn move_to(&self, batch: &mut VecDeque<Box<C>>, most: usize) {
        let mut queue = self.lock();
        let calls = &mut queue.calls;
        if batch.is_empty() && calls.len() <= most {
            std::mem::swap(calls, batch);
        } else {
            batch.extend(calls.drain(..most.min(calls.len())));
        }
        self.waiting.store(!calls.is_empty(), Ordering::Relaxed);
    }

    /// Returns the queued calls, and drops all later ones, because the reactor is gone.
    pub(super) fn close(&self) -> VecDeque<Box<C>> {
        let mut queue = self.lock();
        queue.closed = true;
        std::mem::take(&mut queue.calls)
    }

    /// Locks the queue. A poisoned lock is harmless: the panic happened elsewhere, and the queue is consistent between
    /// statements.
    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
