//! The use of a turn's budget.

use ropewalk_proto::Moment;

use super::budget::{Budget, Share};
use super::{Kernel, Reactor};

impl Share {
    /// Returns whether the time is over. Asked after each callback, so that one is always made.
    ///
    /// The turn in which the loop is stopped, or panics, is completed, because no other turn may follow.
    #[inline(always)]
    pub(crate) fn is_over(&self, kernel: &Kernel) -> bool {
        self.end.is_some_and(|end| kernel.now() >= end && !kernel.is_last_turn())
    }
}

impl Kernel {
    /// Begins a part of a turn, which may use half of the turn's time.
    #[inline]
    pub(super) fn begin_part(&self) {
        let time = self.budget().time;
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
        Share { calls: self.budget().calls, end: half }
    }

    /// Returns a share with all the time that is left to this part of the turn.
    #[inline]
    pub(crate) fn rest_of_part(&self) -> Share {
        Share { calls: self.budget().calls, end: self.part_end() }
    }

    #[inline]
    fn budget(&self) -> Budget {
        self.allowance.of_host.get().unwrap_or_else(|| self.allowance.budget.get())
    }

    /// Sets whether the present turn takes the time that it needs.
    pub(crate) fn set_last_turn(&self, is_last: bool) {
        self.allowance.is_last_turn.set(is_last);
    }

    #[cold]
    fn is_last_turn(&self) -> bool {
        self.allowance.is_last_turn.get() || self.ends_by_panic()
    }

    /// Sets the budget of a turn that a host makes, and returns that of the turn around it.
    pub(crate) fn replace_budget_of_host(&self, budget: Option<Budget>) -> Option<Budget> {
        self.allowance.of_host.replace(budget)
    }
}

impl Reactor {
    /// Sets how much work a turn does at most.
    ///
    /// A smaller budget makes the loop look for events more often, while many delayed calls, tasks or calls from threads
    /// are due. May be called from any callback, and counts from the next part of a turn. A turn
    /// that a [host](crate::hosting) makes has the budget of the host instead.
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
        self.0.allowance.budget.set(budget);
    }
}
