//! The budget of a turn: how much work a turn does before it leaves the rest to the next turn.
//!
//! ```text
//!   dispatch    half of the time     events
//!   prepare     half of the time     half of it: calls from threads; half of the rest: delayed calls; the rest: tasks
//! ```
//!
//! Each kind of work makes progress in each turn, however much there is of the other kinds. Work that is left keeps its
//! place in its queue.

use std::cell::Cell;
use std::time::Duration;

use ropewalk_proto::Moment;

use super::{Kernel, Reactor};

/// The number of callbacks of one kind in a turn, unless the user chooses another.
///
/// Threads can queue calls faster than the loop makes them, and timers and connections must not wait for all of them.
const CALLS: usize = 2048;

/// The most work that a turn does. The next turn continues with the rest.
///
/// There are four kinds of work: events, calls from threads, delayed calls and tasks. The number of calls limits each
/// kind by itself. The time limits all of them together, and half of it is for events. In each turn at least one callback
/// of each kind is made, and a callback is never interrupted. So a turn exceeds its time by one callback, or by one of
/// each kind if each takes long.
///
/// The default is 2048 calls of each kind, and no limit of time.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::{Budget, Reactor};
///
/// let reactor = Reactor::new()?;
/// reactor.set_budget(Budget::of(Duration::from_millis(4)).calls(500));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    calls: usize,
    time: Option<Duration>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { calls: CALLS, time: None }
    }
}

impl Budget {
    /// Limits the time of a turn, by the clock of the provider.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Budget;
    ///
    /// let smooth = Budget::of(Duration::from_millis(4)); // a window that draws 60 frames a second has 16 ms for each
    /// # assert_ne!(smooth, Budget::default());
    /// ```
    pub fn of(time: Duration) -> Budget {
        Budget { time: Some(time), ..Budget::default() }
    }

    /// Limits the number of callbacks of each kind. Zero means one.
    ///
    /// ```
    /// use ropewalk::Budget;
    ///
    /// let small = Budget::default().calls(100);
    /// # assert_ne!(small, Budget::default());
    /// ```
    #[must_use]
    pub fn calls(self, calls: usize) -> Budget {
        Budget { calls: calls.max(1), ..self }
    }
}

/// The budget of the turns, and how far the present part of a turn has come.
#[derive(Default)]
pub(super) struct Allowance {
    budget: Cell<Budget>,
    /// The time at which the present part of the turn is over.
    end: Cell<Option<Moment>>,
}

/// What one kind of work may use in a part of a turn.
pub(crate) struct Share {
    /// The number of callbacks that may still be made.
    pub(crate) calls: usize,
    end: Option<Moment>,
}

impl Share {
    /// Returns whether the time is over. Asked after each callback, so that one is always made.
    #[inline(always)]
    pub(crate) fn is_over(&self, kernel: &Kernel) -> bool {
        self.end.is_some_and(|end| kernel.now() >= end)
    }
}

impl Kernel {
    /// Begins a part of a turn, which may use half of the turn's time.
    #[inline]
    pub(super) fn begin_part(&self) {
        let time = self.allowance.budget.get().time;
        self.allowance.end.set(time.map(|time| self.now() + time / 2));
    }

    /// Returns the time at which the present part of the turn is over.
    pub(super) fn part_end(&self) -> Option<Moment> {
        self.allowance.end.get()
    }

    pub(super) fn set_part_end(&self, end: Option<Moment>) {
        self.allowance.end.set(end);
    }

    /// Returns a share with half of the time that is left to this part of the turn.
    pub(super) fn half_of_part(&self) -> Share {
        let half = self.part_end().map(|end| {
            let now = self.now();
            now + end.since(now) / 2
        });
        Share { calls: self.allowance.budget.get().calls, end: half }
    }

    /// Returns a share with all the time that is left to this part of the turn.
    #[inline]
    pub(crate) fn rest_of_part(&self) -> Share {
        Share { calls: self.allowance.budget.get().calls, end: self.part_end() }
    }

    /// Sets the budget of the next turns, and returns the previous one.
    pub(crate) fn replace_budget(&self, budget: Budget) -> Budget {
        self.allowance.budget.replace(budget)
    }
}

impl Reactor {
    /// Sets how much work a turn does at most.
    ///
    /// A smaller budget makes the loop look for events more often, while many delayed calls, tasks or calls from threads
    /// are due. May be called from any callback, and counts from the next part of a turn.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    /// use ropewalk::Budget;
    ///
    /// let clock = Clock::new();
    /// clock.set_budget(Budget::default().calls(2));
    /// let made = Rc::new(Cell::new(0));
    /// for _ in 0..3 {
    ///     let made = made.clone();
    ///     clock.call_later(Duration::ZERO, move |_| made.set(made.get() + 1));
    /// }
    /// assert_eq!(clock.prepare()?, Some(Duration::ZERO)); // more is due
    /// assert_eq!(made.get(), 2);
    /// clock.prepare()?;
    /// assert_eq!(made.get(), 3);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_budget(&self, budget: Budget) {
        self.0.replace_budget(budget);
    }
}
