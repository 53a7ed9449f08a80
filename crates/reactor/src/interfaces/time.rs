//! IReactorTime: delayed calls.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ropewalk_proto::{Moment, TimerKey};

use crate::error::{Error, Result};
use crate::kernel::{Call, Internal, Kernel, Reactor};

impl Reactor {
    /// Returns the seconds since 1970-01-01 00:00 UTC by the wall clock.
    ///
    /// Delayed calls follow [`now`](Reactor::now) instead, so a change of the wall clock does not affect them. On a
    /// simulated provider the wall clock is virtual.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.advance(Duration::from_millis(1500));
    /// assert_eq!(clock.seconds(), 1.5); // about 1.8e9 on a real reactor
    /// ```
    pub fn seconds(&self) -> f64 {
        let wall = self.0.provider("wall_clock", |provider| Some(provider.wall_clock()));
        let wall = wall.ok().flatten().unwrap_or_else(SystemTime::now);
        wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Returns the monotonic time that delayed calls follow.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let began = clock.now();
    /// clock.advance(Duration::from_secs(90));
    /// assert_eq!(clock.now().since(began), Duration::from_secs(90));
    /// ```
    pub fn now(&self) -> Moment {
        self.0.now()
    }

    /// Schedules `call` to run after `delay`. A zero delay runs it in the next turn. Calls due at the same time run in
    /// the order in which they were scheduled. A call with a delay of more than 584 years never runs.
    ///
    /// The call gets the reactor as its argument, and need not capture it. A call that captures a `Reactor` keeps that
    /// reactor alive until the call has run or is cancelled.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use std::time::Duration;
    ///
    /// let reactor = Reactor::new()?;
    /// let call = reactor.call_later(Duration::from_secs(3600), |_| println!("an hour later"));
    /// assert!(call.active());
    /// call.cancel()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_later(&self, delay: Duration, call: impl FnOnce(&Reactor) + 'static) -> DelayedCall {
        self.schedule(delay, Box::new(call))
    }

    /// Schedules a call that [`get_delayed_calls`](Reactor::get_delayed_calls) leaves out.
    pub(crate) fn call_later_internally(&self, delay: Duration, call: impl FnOnce(&Reactor) + 'static) -> DelayedCall {
        self.schedule(delay, Box::new(Internal(call)))
    }

    fn schedule(&self, delay: Duration, call: Box<dyn Call>) -> DelayedCall {
        let deadline = self.0.deadline_after(delay);
        let key = self.0.timers.borrow_mut().schedule(deadline, call);
        self.0.work_changed();
        DelayedCall { reactor: Rc::downgrade(&self.0), key, cancelled: Cell::new(false) }
    }

    /// Returns the pending delayed calls, in no particular order.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.call_later(Duration::from_secs(60), |_| println!("a minute is over"));
    /// for forgotten in clock.get_delayed_calls() {
    ///     forgotten.cancel()?; // for example at the end of a test
    /// }
    /// assert!(clock.get_delayed_calls().is_empty());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn get_delayed_calls(&self) -> Vec<DelayedCall> {
        let timers = self.0.timers.borrow();
        let handle = |key| DelayedCall { reactor: Rc::downgrade(&self.0), key, cancelled: Cell::new(false) };
        timers.iter().filter(|(.., call)| !call.is_internal()).map(|(key, ..)| handle(key)).collect()
    }
}

impl Kernel {
    /// Returns the time `delay` after now, or after the start of the present turn if that is later. So a call that is
    /// scheduled in a turn runs after the calls that were due in that turn.
    fn deadline_after(&self, delay: Duration) -> Moment {
        self.now().max(self.turn_now()) + delay
    }
}

/// A scheduled call: IDelayedCall. Dropping the handle does not cancel the call.
///
/// All methods may be called from any callback on the reactor's thread. Inside the call itself, the call is no longer
/// active.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let rings = Rc::new(Cell::new(0));
/// let bell = rings.clone();
/// let call = clock.call_later(Duration::from_secs(10), move |_| bell.set(bell.get() + 1));
/// clock.advance(Duration::from_secs(9));
/// call.reset(Duration::from_secs(10))?; // now due at 19 s
/// clock.advance(Duration::from_secs(9));
/// assert_eq!((rings.get(), call.active()), (0, true));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!((rings.get(), call.active()), (1, false));
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct DelayedCall {
    reactor: Weak<Kernel>,
    key: TimerKey,
    cancelled: Cell<bool>,
}

impl DelayedCall {
    /// Cancels the call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Error;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let call = clock.call_later(Duration::from_secs(1), |_| unreachable!("cancelled"));
    /// call.cancel()?;
    /// assert!(matches!(call.cancel(), Err(Error::AlreadyCancelled)));
    /// clock.advance(Duration::from_secs(2));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::AlreadyCancelled`] when the call was cancelled. [`Error::AlreadyCalled`] when the call has been made.
    /// Either of these errors when another handle cancelled the call and another call has been scheduled since.
    /// [`Error::Closed`] when the reactor has been dropped.
    pub fn cancel(&self) -> Result<()> {
        let kernel = self.reactor.upgrade().ok_or(Error::Closed)?;
        let call = kernel.timers.borrow_mut().cancel(self.key);
        if call.is_none() {
            return Err(self.gone(&kernel));
        }
        self.cancelled.set(true);
        kernel.work_changed();
        Ok(())
    }

    /// Changes the due time to `delay` from now.
    ///
    /// Moving a call to a later time only stores the new time, so a program can reset an idle timeout with each
    /// message.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let timeout = clock.call_later(Duration::from_secs(30), |_| println!("timed out"));
    /// clock.advance(Duration::from_secs(29));
    /// timeout.reset(Duration::from_secs(30))?; // a message came
    /// clock.advance(Duration::from_secs(29));
    /// assert!(timeout.active());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`cancel`](DelayedCall::cancel).
    pub fn reset(&self, delay: Duration) -> Result<()> {
        let kernel = self.reactor.upgrade().ok_or(Error::Closed)?;
        let deadline = kernel.deadline_after(delay);
        self.move_to(&kernel, deadline)
    }

    /// Makes the due time later by `by`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let call = clock.call_later(Duration::from_secs(10), |_| ());
    /// call.delay(Duration::from_secs(5))?;
    /// assert_eq!(call.get_time(), Some(Moment::ZERO + Duration::from_secs(15)));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`cancel`](DelayedCall::cancel).
    pub fn delay(&self, by: Duration) -> Result<()> {
        let kernel = self.reactor.upgrade().ok_or(Error::Closed)?;
        let due = kernel.timers.borrow().deadline(self.key).ok_or_else(|| self.gone(&kernel))?;
        self.move_to(&kernel, due + by)
    }

    /// Makes the due time earlier by `by`, but not earlier than the next turn.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let call = clock.call_later(Duration::from_secs(10), |_| ());
    /// call.hasten(Duration::from_secs(4))?;
    /// assert_eq!(call.get_time(), Some(Moment::ZERO + Duration::from_secs(6)));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`cancel`](DelayedCall::cancel).
    pub fn hasten(&self, by: Duration) -> Result<()> {
        let kernel = self.reactor.upgrade().ok_or(Error::Closed)?;
        let due = kernel.timers.borrow().deadline(self.key).ok_or_else(|| self.gone(&kernel))?;
        let earlier = Moment::ZERO + due.since(Moment::ZERO + by);
        self.move_to(&kernel, earlier.max(kernel.deadline_after(Duration::ZERO)))
    }

    /// Returns whether the call is still pending.
    pub fn active(&self) -> bool {
        self.reactor.upgrade().is_some_and(|kernel| kernel.timers.borrow().contains(self.key))
    }

    /// Returns the due time, on the clock of [`Reactor::now`]. `None` after the call was made or cancelled.
    pub fn get_time(&self) -> Option<Moment> {
        self.reactor.upgrade()?.timers.borrow().deadline(self.key)
    }

    fn move_to(&self, kernel: &Kernel, deadline: Moment) -> Result<()> {
        if !kernel.timers.borrow_mut().reset(self.key, deadline) {
            return Err(self.gone(kernel));
        }
        kernel.work_changed();
        Ok(())
    }

    fn gone(&self, kernel: &Kernel) -> Error {
        let cancelled = self.cancelled.get() || kernel.timers.borrow().was_cancelled(self.key);
        if cancelled { Error::AlreadyCancelled } else { Error::AlreadyCalled }
    }
}

impl std::fmt::Debug for DelayedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelayedCall").field("due", &self.get_time()).finish_non_exhaustive()
    }
}
