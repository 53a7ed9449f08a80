//! The deadlines of connections, and the one delayed call for the earliest of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use quinn_proto::ConnectionHandle;
use ropewalk::{DelayedCall, Reactor};

/// The deadlines of connections.
#[derive(Default)]
pub(crate) struct Deadlines {
    of: BTreeMap<ConnectionHandle, Instant>,
    earliest_first: BTreeSet<(Instant, ConnectionHandle)>,
    timer: Option<(Instant, DelayedCall)>,
}

impl Deadlines {
    /// Replaces the deadline of a connection.
    pub(crate) fn set(&mut self, handle: ConnectionHandle, deadline: Option<Instant>) {
        let before = match deadline {
            Some(deadline) => self.of.insert(handle, deadline),
            None => self.of.remove(&handle),
        };
        if before != deadline {
            before.map(|before| self.earliest_first.remove(&(before, handle)));
            self.earliest_first.extend(deadline.map(|deadline| (deadline, handle)));
        }
    }

    /// Takes a connection whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<ConnectionHandle> {
        let (_, handle) = self.earliest_first.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.set(handle, None);
        Some(handle)
    }

    /// Moves the timer to the earliest deadline. `fire` is called then.
    pub(crate) fn set_timer(&mut self, reactor: &Reactor, now: Instant, fire: impl FnOnce() + 'static) {
        let Some(&(deadline, _)) = self.earliest_first.first() else { return self.stop_timer() };
        let delay = deadline.saturating_duration_since(now);
        let has_moved = match &self.timer {
            Some((at, _)) if *at == deadline => true,
            Some((_, timer)) => timer.reset(delay).is_ok(),
            None => false,
        };
        match &mut self.timer {
            Some((at, _)) if has_moved => *at = deadline,
            timer => *timer = Some((deadline, reactor.call_later(delay, |_| fire()))),
        }
    }

    /// Notes that the timer has fired.
    pub(crate) fn timer_fired(&mut self) {
        self.timer = None;
    }

    /// Cancels the timer.
    pub(crate) fn stop_timer(&mut self) {
        if let Some((_, timer)) = self.timer.take() {
            // It may have been called at this very moment.
            let _ = timer.cancel();
        }
    }
}
