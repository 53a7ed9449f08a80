//! The time of the reactor's work, after which windows are drawn.
//!
//! Tcl serves its events in the order in which they come, but makes idle callbacks only when there is no event. Tk
//! draws in idle callbacks, so a window would never be drawn while connections are always ready.

use std::cell::Cell;
use std::time::Duration;

/// The time in turns after which a rest is due.
const WORK: Duration = Duration::from_millis(5);

/// The time in turns since the last rest.
#[derive(Default)]
pub(crate) struct Rests(Cell<Duration>);

impl Rests {
    /// Adds a turn, and returns whether a rest is due.
    pub(crate) fn add_turn(&self, time: Duration) -> bool {
        let worked = self.0.get() + time;
        let is_due = worked >= WORK;
        self.0.set(if is_due { Duration::ZERO } else { worked });
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_due_after_some_work() {
        let rests = Rests::default();
        let turn = WORK * 2 / 3;
        assert_eq!([turn, turn, turn, turn].map(|time| rests.add_turn(time)), [false, true, false, true]);
    }
}
