//! A reactor with virtual time and without a network.

use std::ops::Deref;
use std::time::Duration;

use super::MemoryReactor;
use crate::kernel::Reactor;

/// A reactor with virtual time, for code that only schedules calls: `twisted.internet.task.Clock`.
///
/// A clock derefs to a [`Reactor`], so code under test schedules its calls as usual. Calls that are due at the same
/// time run in the order in which they were scheduled.
///
/// A callback may move the time as well. A clock belongs to one thread.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let rang = Rc::new(Cell::new(false));
/// let bell = rang.clone();
/// clock.call_later(Duration::from_secs(3600), move |_| bell.set(true));
/// clock.advance(Duration::from_secs(3599));
/// assert!(!rang.get());
/// clock.advance(Duration::from_secs(1));
/// assert!(rang.get());
/// assert_eq!(clock.seconds(), 3600.0);
/// assert!(clock.get_delayed_calls().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(MemoryReactor);

impl Clock {
    /// Returns a clock at time zero.
    pub fn new() -> Clock {
        Clock::default()
    }

    /// Moves the time forward by `by`, and runs the calls that fall due, each at its own time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.call_later(Duration::from_secs(1), |clock| {
    ///     clock.call_later(Duration::from_secs(1), |clock| assert_eq!(clock.seconds(), 2.0));
    /// });
    /// clock.advance(Duration::from_secs(10)); // each call at its own time
    /// assert_eq!(clock.seconds(), 10.0);
    /// ```
    ///
    /// # Panics
    /// When 100,000 turns run at one time, because a call schedules itself again without a delay.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    /// Advances by each of `steps`, one after the other.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.pump([1, 2, 3].map(Duration::from_secs));
    /// assert_eq!(clock.seconds(), 6.0);
    /// ```
    ///
    /// # Panics
    /// The panics of [`advance`](Clock::advance).
    pub fn pump(&self, steps: impl IntoIterator<Item = Duration>) {
        self.0.pump(steps);
    }
}

impl Deref for Clock {
    type Target = Reactor;

    fn deref(&self) -> &Reactor {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_due_together_run_in_the_order_of_scheduling() {
        let clock = Clock::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..20 {
            let order = order.clone();
            clock.call_later(SECOND, move |_| order.borrow_mut().push(number));
        }
        clock.pump([SECOND / 2, SECOND / 2]);
        assert_eq!(*order.borrow(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_cancelled_call_is_neither_run_nor_listed() {
        let clock = Clock::new();
        let call = clock.call_later(SECOND, |_| panic!("cancelled"));
        assert_eq!(clock.get_delayed_calls().len(), 1);
        call.cancel().unwrap();
        assert!(clock.get_delayed_calls().is_empty());
        clock.advance(2 * SECOND);
        assert_eq!(clock.seconds(), 2.0);
    }
}
