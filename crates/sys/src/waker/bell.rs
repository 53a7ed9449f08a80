//! The waker of a kernel: a channel that the selector watches, rung only while the loop sleeps.
//!
//! ```text
//!            fall_asleep             ring: writes to the channel
//!   AWAKE ---------------> ASLEEP ------------------------------+
//!     ^  ^                    |                                 v
//!     |  +---- wake_up -------+                               RUNG
//!     +----------------------- wake_up ------------------------+ ^
//!   AWAKE ------------------- ring: no system call --------------+
//! ```
//!
//! Ringing a busy loop costs no system call: the loop finds RUNG when it would fall asleep, and stays awake. A host
//! loop that watches the provider's descriptor may sleep at any time. While one does, wake_up goes to ASLEEP and not to
//! AWAKE.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::channel::Channel;
use super::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use super::{Wake, Waker};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const RUNG: u8 = 2;

pub(crate) struct Bell {
    state: AtomicU8,
    /// Whether a host loop watches the descriptor.
    watched: AtomicBool,
    pub(super) channel: Channel,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Bell>> {
        let channel = Channel::new()?;
        Ok(Arc::new(Bell { state: AtomicU8::new(AWAKE), watched: AtomicBool::new(false), channel }))
    }

    /// Returns the descriptor that the selector watches for reading.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.channel.fd()
    }

    pub(crate) fn waker(self: &Arc<Bell>) -> Waker {
        Waker::new(self.clone())
    }

    /// Announces a sleep. Returns false when the bell has been rung, so that the wait must not block.
    pub(crate) fn fall_asleep(&self) -> bool {
        // Acquire and release on both sides: the loop must see what was queued before the ring.
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire) != Err(RUNG)
    }

    pub(crate) fn wake_up(&self) {
        let rest = if self.watched.load(Ordering::Relaxed) { ASLEEP } else { AWAKE };
        self.state.swap(rest, Ordering::AcqRel);
    }

    /// Makes every later ring visible to a host loop that watches the descriptor, also outside `wait`.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
        if self.state.swap(ASLEEP, Ordering::AcqRel) == RUNG {
            self.wake();
        }
    }

    /// Undoes `watch`.
    pub(crate) fn unwatch(&self) {
        self.watched.store(false, Ordering::Relaxed);
        // A ring that has come stays until the next wait.
        let _ = self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Replaces the channel in the child after fork(2), so that a ring does not wake the parent.
    pub(crate) fn reopen_after_fork(&self) -> io::Result<()> {
        self.channel.replace()
    }

    /// Empties the channel, which the selector reported.
    pub(crate) fn drain(&self) {
        self.channel.drain();
    }
}

impl Wake for Bell {
    fn wake(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            self.channel.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_ring_of_a_busy_loop_costs_no_system_call() {
        let bell = Bell::new().unwrap();
        for _ in 0..1000 {
            bell.wake();
        }
        assert!(!bell.fall_asleep());
        bell.wake_up();
        assert_eq!(bell.channel.drain(), 0);
        assert!(bell.fall_asleep());
    }

    #[test]
    fn a_thousand_rings_of_one_sleep_cost_one_system_call() {
        let bell = Bell::new().unwrap();
        assert!(bell.fall_asleep());
        let ringer = bell.waker();
        thread::spawn(move || (0..1000).for_each(|_| ringer.wake())).join().unwrap();
        bell.wake_up();
        assert_eq!(bell.channel.drain(), 1);
    }

    #[test]
    fn a_wake_outside_the_wait_writes_to_a_watched_bell() {
        let bell = Bell::new().unwrap();
        bell.wake();
        bell.watch();
        assert_eq!(bell.channel.drain(), 1);
        bell.wake_up();
        bell.wake();
        bell.wake();
        assert_eq!(bell.channel.drain(), 1);
        bell.wake_up();
        bell.unwatch();
        bell.wake();
        assert_eq!(bell.channel.drain(), 0, "the next wait finds the ring without a system call");
        assert!(!bell.fall_asleep());
    }
}
