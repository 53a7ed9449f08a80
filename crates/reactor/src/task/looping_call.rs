//! The same call again and again: `LoopingCall`.
//!
//! ```text
//!   start       +interval     +interval     +interval     +interval
//!     |------------|-------------|-------------|-------------|      ticks, from the start
//!     call        call  ~~~~~~~~~~~~~~~~~~~~ call           call    a slow call misses a tick, and keeps the phase
//! ```

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Cancelled, Deferred, Failure, Moment, Outcome, Resolver, fail, maybe_deferred};

use crate::interfaces::time::DelayedCall;
use crate::kernel::{Kernel, Reactor};

/// Calls a function at each tick of an interval. A cheap handle: clones are the same loop.
///
/// A call that returns a Deferred is waited for, so that calls never overlap. Ticks that pass meanwhile are left out and
/// the next call is made at the next tick: the phase is kept. Dropping the handles does not end the loop.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::task::LoopingCall;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let ticks = Rc::new(Cell::new(0));
/// let count = ticks.clone();
/// let looping = LoopingCall::new(&clock, move |_| count.set(count.get() + 1));
/// let end = looping.start(Duration::from_secs(1));
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(ticks.get(), 4);
/// looping.stop();
/// end.try_result().unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct LoopingCall(Rc<Loop>);

type Call = Box<dyn FnMut(&LoopingCall, u64) -> Deferred<()>>;

struct Loop {
    reactor: Weak<Kernel>,
    /// Out while it runs.
    call: Cell<Option<Call>>,
    run: RefCell<Option<Run>>,
    /// A call has begun and its result is not there.
    is_busy: Cell<bool>,
}

/// From a start to its end.
struct Run {
    interval: Duration,
    /// The moment of tick 0.
    began: Moment,
    /// How many ticks the calls have been told of.
    ticks_seen: u64,
    resolver: Resolver<()>,
    scheduled: Option<DelayedCall>,
    /// Cancels the call that is waited for.
    waiting: Option<CancelHandle>,
    is_stopping: bool,
}

impl LoopingCall {
    /// A loop that will make `call`, which is given the loop, to stop it for example, and returns nothing, a `Result` or a
    /// Deferred. A failure or a panic ends the loop.
    pub fn new<R: Outcome>(reactor: &Reactor, mut call: impl FnMut(&LoopingCall) -> R + 'static) -> LoopingCall {
        LoopingCall::with_count(reactor, move |looping, _| call(looping))
    }

    /// A loop whose `call` is told how many ticks there were since the call before: 1 when none was missed. With an
    /// interval of zero it is always 1.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::task::LoopingCall;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let counts = Rc::new(RefCell::new(Vec::new()));
    /// let seen = counts.clone();
    /// let second = Duration::from_secs(1);
    /// let looping = LoopingCall::with_count(&clock, move |looping, count| {
    ///     seen.borrow_mut().push(count);
    ///     looping.reactor().defer_later(second * 5 / 2, |_| ()) // it takes two and a half ticks
    /// });
    /// looping.start(second);
    /// clock.advance(second * 6);
    /// assert_eq!(*counts.borrow(), [1, 3, 3]);
    /// ```
    pub fn with_count<R: Outcome>(
        reactor: &Reactor,
        mut call: impl FnMut(&LoopingCall, u64) -> R + 'static,
    ) -> LoopingCall {
        let call: Call = Box::new(move |looping, count| maybe_deferred(|| call(looping, count)).add_callback(drop));
        LoopingCall(Rc::new(Loop {
            reactor: reactor.downgrade(),
            call: Cell::new(Some(call)),
            run: RefCell::default(),
            is_busy: Cell::new(false),
        }))
    }

    /// Makes the call now, and then at each tick. An interval of zero is each turn of the loop.
    ///
    /// The Deferred fires when the loop was stopped, or with the failure that ended it. Cancelling it stops the loop and
    /// cancels a call that is waited for. It fails with [`AlreadyLooping`] unless the loop and its last call have ended.
    /// May be called from a callback.
    #[track_caller]
    pub fn start(&self, interval: Duration) -> Deferred<()> {
        self.begin(interval, 0)
    }

    /// As [`start`](LoopingCall::start), with the first call at the first tick: `now=False`.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::task::LoopingCall;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let beats = Rc::new(Cell::new(0));
    /// let count = beats.clone();
    /// let heartbeat = LoopingCall::new(&clock, move |_| count.set(count.get() + 1));
    /// heartbeat.start_later(Duration::from_secs(30));
    /// assert_eq!((beats.get(), heartbeat.interval()), (0, Some(Duration::from_secs(30))));
    /// clock.advance(Duration::from_secs(90));
    /// assert_eq!(beats.get(), 3);
    /// ```
    #[track_caller]
    pub fn start_later(&self, interval: Duration) -> Deferred<()> {
        self.begin(interval, 1)
    }

    #[track_caller]
    fn begin(&self, interval: Duration, ticks_seen: u64) -> Deferred<()> {
        if self.0.run.borrow().is_some() || self.0.is_busy.get() {
            return fail(AlreadyLooping);
        }
        let Some(reactor) = self.try_reactor() else { return fail(crate::Error::Closed) };
        let own = Rc::downgrade(&self.0);
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            if let Some(own) = own.upgrade() {
                own.cancel();
            }
        });
        let run = Run {
            interval,
            began: reactor.now(),
            ticks_seen,
            resolver,
            scheduled: None,
            waiting: None,
            is_stopping: false,
        };
        *self.0.run.borrow_mut() = Some(run);
        if ticks_seen == 0 {
            self.tick();
        } else {
            self.schedule(&reactor);
        }
        deferred
    }

    /// Ends the loop: the Deferred of its start fires before this returns, or, from the call itself or while one is waited
    /// for, when that call's result is there. No effect when the loop does not run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::LoopingCall;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let looping = LoopingCall::new(&clock, |looping| looping.stop()); // from the call itself
    /// let end = looping.start(Duration::from_secs(1));
    /// assert!(end.is_done() && !looping.running());
    /// ```
    pub fn stop(&self) {
        let mut slot = self.0.run.borrow_mut();
        let Some(run) = slot.as_mut() else { return };
        let Some(call) = run.scheduled.take() else {
            run.is_stopping = true;
            return;
        };
        let run = slot.take();
        drop(slot);
        let _ = call.cancel();
        let _ = run.map(|run| run.resolver.callback(()));
    }

    /// Counts the interval from now: the next call is made when a whole one has passed. No effect when the loop does not
    /// run, or while a call runs or is waited for.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::task::LoopingCall;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let pings = Rc::new(Cell::new(0));
    /// let count = pings.clone();
    /// let ping = LoopingCall::new(&clock, move |_| count.set(count.get() + 1));
    /// ping.start_later(Duration::from_secs(30));
    /// clock.advance(Duration::from_secs(29));
    /// ping.reset(); // we have just heard from them
    /// clock.advance(Duration::from_secs(29));
    /// assert_eq!(pings.get(), 0);
    /// ```
    pub fn reset(&self) {
        let Some(reactor) = self.try_reactor() else { return };
        if let Some(run) = self.0.run.borrow_mut().as_mut() {
            if let Some(call) = &run.scheduled {
                let _ = call.reset(run.interval);
                (run.began, run.ticks_seen) = (reactor.now(), 1);
            }
        }
    }

    /// Whether the loop was started, and neither was stopped nor has ended.
    pub fn running(&self) -> bool {
        self.0.run.borrow().as_ref().is_some_and(|run| !run.is_stopping)
    }

    /// The interval of the present run.
    pub fn interval(&self) -> Option<Duration> {
        self.0.run.borrow().as_ref().map(|run| run.interval)
    }

    /// The reactor whose time this follows.
    ///
    /// # Panics
    /// When that reactor has been dropped, which cannot be inside a callback.
    pub fn reactor(&self) -> Reactor {
        self.try_reactor().expect("the reactor of this loop has been dropped")
    }

    fn try_reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade().map(Reactor)
    }

    fn schedule(&self, reactor: &Reactor) {
        if let Some(run) = self.0.run.borrow_mut().as_mut() {
            let looping = self.clone();
            run.scheduled = Some(reactor.call_later(run.until_next_tick(reactor.now()), move |_| looping.tick()));
        }
    }

    fn tick(&self) {
        let Some(count) = self.0.begin_call() else { return };
        let Some(mut call) = self.0.call.take() else { return };
        let result = call(self, count);
        self.0.call.set(Some(call));
        if !result.is_done() {
            if let Some(run) = self.0.run.borrow_mut().as_mut() {
                run.waiting = Some(result.cancel_handle());
            }
        }
        let looping = self.clone();
        result.add_both(move |result| looping.end_call(result));
    }

    fn end_call(&self, result: Result<(), Failure>) {
        self.0.is_busy.set(false);
        let mut slot = self.0.run.borrow_mut();
        let goes_on = result.is_ok() && slot.as_ref().is_some_and(|run| !run.is_stopping);
        let ended = if goes_on { None } else { slot.take() };
        if let Some(run) = slot.as_mut() {
            run.waiting = None;
        }
        drop(slot);
        match (ended, self.try_reactor()) {
            (Some(run), _) => drop(run.resolver.fire(result)),
            (None, Some(reactor)) if goes_on => self.schedule(&reactor),
            _ => report(result),
        }
    }
}

/// The run was cancelled: of its last call only a failure is of interest.
fn report(result: Result<(), Failure>) {
    let is_cancellation = result.as_ref().is_err_and(Failure::check::<Cancelled>);
    if !is_cancellation {
        // A Deferred that is dropped logs its failure.
        drop(Deferred::from(result));
    }
}

impl Loop {
    /// How many ticks the call that begins now stands for.
    fn begin_call(&self) -> Option<u64> {
        let now = self.reactor.upgrade()?.now();
        let mut slot = self.run.borrow_mut();
        let run = slot.as_mut()?;
        run.scheduled = None;
        self.is_busy.set(true);
        Some(run.count_ticks(now))
    }

    fn cancel(&self) {
        let run = self.run.take();
        let Some(run) = run else { return };
        if let Some(call) = &run.scheduled {
            let _ = call.cancel();
        }
        if let Some(waiting) = &run.waiting {
            waiting.cancel();
        }
    }
}

impl Drop for Loop {
    /// Only when the reactor is gone: that ends the loop in order.
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            let _ = run.resolver.callback(());
        }
    }
}

impl Run {
    fn count_ticks(&mut self, now: Moment) -> u64 {
        if self.interval.is_zero() {
            return 1;
        }
        let passed = now.since(self.began).as_nanos() / self.interval.as_nanos() + 1;
        let ticks = u64::try_from(passed).unwrap_or(u64::MAX);
        ticks - std::mem::replace(&mut self.ticks_seen, ticks)
    }

    fn until_next_tick(&self, now: Moment) -> Duration {
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        let into_this_one = now.since(self.began).as_nanos() % self.interval.as_nanos();
        self.interval - Duration::from_nanos(u64::try_from(into_this_one).expect("not beyond the time since the start"))
    }
}

impl fmt::Debug for LoopingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopingCall").field("interval", &self.interval()).finish_non_exhaustive()
    }
}

/// [`LoopingCall::start`] while the loop runs, or its last call is waited for.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::{AlreadyLooping, LoopingCall};
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let looping = LoopingCall::new(&clock, |_| ());
/// let _end = looping.start(Duration::from_secs(1));
/// let second = looping.start(Duration::from_secs(1));
/// assert!(second.try_result().unwrap().unwrap_err().check::<AlreadyLooping>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyLooping;

impl fmt::Display for AlreadyLooping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loop runs already: stop it, and wait for the Deferred of its start")
    }
}

impl Error for AlreadyLooping {}

#[cfg(test)]
mod tests {
    use ropewalk_proto::succeed;

    use super::*;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    type Calls = Rc<RefCell<Vec<(f64, u64)>>>;

    /// A loop that notes when it was called and for how many ticks, and takes `work` long each time.
    fn noted(clock: &Clock, work: Duration) -> (LoopingCall, Calls) {
        let calls = Calls::default();
        let note = calls.clone();
        let looping = LoopingCall::with_count(clock, move |looping, count| {
            note.borrow_mut().push((looping.reactor().seconds(), count));
            if work.is_zero() { succeed(()) } else { looping.reactor().defer_later(work, |_| ()) }
        });
        (looping, calls)
    }

    fn failure_of(deferred: Deferred<()>) -> Failure {
        deferred.try_result().expect("the result is there").expect_err("a failure")
    }

    #[test]
    fn the_first_call_is_made_at_once_or_at_the_first_tick() {
        for (later, expected) in [(false, vec![(0.0, 1), (1.0, 1), (2.0, 1)]), (true, vec![(1.0, 1), (2.0, 1)])] {
            let clock = Clock::new();
            let (looping, calls) = noted(&clock, Duration::ZERO);
            let _end = if later { looping.start_later(SECOND) } else { looping.start(SECOND) };
            clock.advance(2 * SECOND);
            assert_eq!(*calls.borrow(), expected);
        }
    }

    #[test]
    fn slow_calls_do_not_overlap_keep_the_phase_and_are_told_of_missed_ticks() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, SECOND * 3 / 2);
        let _end = looping.start(SECOND);
        clock.advance(5 * SECOND);
        assert_eq!(*calls.borrow(), [(0.0, 1), (2.0, 2), (4.0, 2)]);
    }

    #[test]
    fn a_call_that_ends_exactly_at_a_tick_waits_for_the_next() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, SECOND);
        let _end = looping.start(SECOND);
        clock.advance(4 * SECOND);
        assert_eq!(*calls.borrow(), [(0.0, 1), (2.0, 2), (4.0, 2)]);
    }

    #[test]
    fn an_interval_of_zero_is_each_turn() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let end = looping.start(Duration::ZERO);
        for turns in 1..=5 {
            assert_eq!(calls.borrow().len(), turns);
            clock.iterate(Some(Duration::ZERO)).unwrap();
        }
        assert!(calls.borrow().iter().all(|(_, count)| *count == 1));
        looping.stop();
        assert!(end.is_done());
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn the_longest_interval_is_not_too_long() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let _end = looping.start(Duration::MAX);
        clock.advance(1000 * SECOND);
        assert_eq!(calls.borrow().len(), 1);
    }

    #[test]
    fn stopping_fires_the_deferred_and_leaves_no_call_behind() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let end = looping.start(SECOND);
        assert!(looping.running());
        looping.stop();
        looping.stop();
        assert!(!looping.running());
        end.try_result().unwrap().unwrap();
        assert!(clock.get_delayed_calls().is_empty());
        let _end = looping.start(SECOND);
        assert_eq!(calls.borrow().len(), 2, "it can be started again");
    }

    #[test]
    fn stopping_while_a_call_is_waited_for_ends_the_loop_with_that_call() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, SECOND);
        let end = looping.start(SECOND);
        looping.stop();
        assert!(!looping.running() && !end.is_done());
        assert!(failure_of(looping.start(SECOND)).check::<AlreadyLooping>());
        clock.advance(10 * SECOND);
        end.try_result().unwrap().unwrap();
        assert_eq!(calls.borrow().len(), 1);
    }

    #[test]
    fn a_call_may_stop_its_own_loop() {
        let clock = Clock::new();
        let looping = LoopingCall::new(&clock, LoopingCall::stop);
        let end = looping.start(SECOND);
        end.try_result().unwrap().unwrap();
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_failure_or_a_panic_ends_the_loop() {
        let clock = Clock::new();
        let failing = LoopingCall::new(&clock, |_| Err::<(), _>(fmt::Error));
        assert!(failure_of(failing.start(SECOND)).check::<fmt::Error>());
        let panicking = LoopingCall::new(&clock, |_| -> () { panic!("at a tick") });
        assert!(failure_of(panicking.start(SECOND)).to_string().contains("at a tick"));
        assert!(!failing.running() && !panicking.running());
        assert!(clock.get_delayed_calls().is_empty());
        assert!(failure_of(failing.start(SECOND)).check::<fmt::Error>(), "it can be started again");
    }

    #[test]
    fn a_reset_counts_the_interval_from_now() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let _end = looping.start(SECOND);
        clock.advance(SECOND / 2);
        looping.reset();
        clock.advance(2 * SECOND);
        assert_eq!(*calls.borrow(), [(0.0, 1), (1.5, 1), (2.5, 1)]);
    }

    #[test]
    fn starting_twice_is_an_error() {
        let clock = Clock::new();
        let (looping, _calls) = noted(&clock, Duration::ZERO);
        let _end = looping.start(SECOND);
        assert!(failure_of(looping.start(SECOND)).check::<AlreadyLooping>());
        assert!(looping.running());
    }

    #[test]
    fn cancelling_stops_the_loop_and_the_call_that_is_waited_for() {
        for work in [Duration::ZERO, SECOND] {
            let clock = Clock::new();
            let (looping, calls) = noted(&clock, work);
            let end = looping.start(SECOND);
            end.cancel();
            assert!(failure_of(end).check::<Cancelled>());
            assert!(clock.get_delayed_calls().is_empty());
            assert!(!looping.running());
            clock.advance(5 * SECOND);
            assert_eq!(calls.borrow().len(), 1);
            assert!(!looping.start(SECOND).is_done(), "it can be started again");
        }
    }

    #[test]
    fn a_loop_without_handles_goes_on_and_ends_with_its_reactor() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let end = looping.start(SECOND);
        drop(looping);
        clock.advance(2 * SECOND);
        assert_eq!(calls.borrow().len(), 3);
        drop(clock);
        end.try_result().unwrap().unwrap();
        assert_eq!(Rc::strong_count(&calls), 1);
    }
}
