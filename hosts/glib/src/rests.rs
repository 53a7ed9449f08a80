//! Rests of the reactor, in which sources of lower priority have their turn.
//!
//! GLib dispatches only the ready sources of the highest priority. A window is drawn at a lower priority than events are
//! handled, so it would never be drawn while connections are always ready. At a priority below drawing, connections would
//! stand still while the window has events. So the reactor has the priority of events, but waits after some work:
//!
//! ```text
//!   works --- a number of milliseconds in turns ---> rests
//!   rests --- a source of low priority was dispatched, so all others have been, or LONGEST is over ---> works
//! ```

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time in turns after which the reactor rests.
const WORK: Duration = Duration::from_millis(5);
/// The longest rest, for a program whose sources of higher priority are always ready.
const LONGEST: Duration = Duration::from_millis(10);

/// Whether the reactor works or rests.
#[derive(Default)]
pub(crate) struct Rests {
    worked: Cell<Duration>,
    rests_since: Cell<Option<Instant>>,
}

impl Rests {
    /// Adds a turn that lasted from `begin` to `end`.
    pub(crate) fn add_turn(&self, begin: Instant, end: Instant) {
        let worked = self.worked.get() + (end - begin);
        if worked < WORK {
            self.worked.set(worked);
        } else {
            self.worked.set(Duration::ZERO);
            self.rests_since.set(Some(end));
        }
    }

    /// Stops the rest, because everything else has had its turn.
    pub(crate) fn end(&self) {
        self.rests_since.set(None);
    }

    /// Returns whether the reactor rests, without a look at the time.
    pub(crate) fn is_resting(&self) -> bool {
        self.rests_since.get().is_some()
    }

    /// Returns how long the reactor still rests, and stops the longest rest.
    pub(crate) fn left(&self, now: impl Fn() -> Instant) -> Option<Duration> {
        let left = LONGEST.saturating_sub(now() - self.rests_since.get()?);
        if left.is_zero() {
            self.end();
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_reactor_rests_after_its_work() {
        let (rests, start) = (Rests::default(), Instant::now());
        rests.add_turn(start, start + 3 * MS);
        assert!(!rests.is_resting());
        rests.add_turn(start + 10 * MS, start + 12 * MS);
        assert!(rests.is_resting());
        assert_eq!(rests.left(|| start + 14 * MS), Some(8 * MS));
        rests.end();
        assert_eq!(rests.left(|| start + 14 * MS), None);
    }

    #[test]
    fn a_rest_ends_although_others_are_always_ready() {
        let (rests, start) = (Rests::default(), Instant::now());
        rests.add_turn(start, start + WORK);
        assert_eq!(rests.left(|| start + WORK + LONGEST), None);
        assert!(!rests.is_resting());
    }
}
