//! Calls from other threads, on their way to the loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ropewalk_sys::Waker;

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
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            return drop(call);
        }
        queue.calls.push_back(call);
        let first = queue.calls.len() == 1;
        self.waiting.store(true, Ordering::Release);
        drop(queue);
        // The call that made the queue non-empty has woken the loop, which takes the whole queue.
        if first {
            self.waker.wake();
        }
    }

    /// Wakes the loop from its present wait, or from the next.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns whether the queue has calls.
    pub(super) fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Appends the queue to `batch`. An empty `batch` is swapped with the queue instead, so that both keep their
    /// memory.
    pub(super) fn move_to(&self, batch: &mut VecDeque<Box<C>>) {
        let mut queue = self.lock();
        self.waiting.store(false, Ordering::Relaxed);
        let calls = &mut queue.calls;
        if batch.is_empty() {
            std::mem::swap(calls, batch);
        } else {
            batch.append(calls);
        }
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
