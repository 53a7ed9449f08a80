//! Repeated calls at an interval: `LoopingCall`.
//!
//! ```text
//!   start       +interval     +interval     +interval     +interval
//!     |------------|-------------|-------------|-------------|      ticks, from the start
//!     call        call  ~~~~~~~~~~~~~~~~~~~~ call           call    a slow call misses a tick, and keeps the phase
//! ```

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Cancelled, Deferred, Failure, Moment, Outcome, Resolver, fail, maybe_deferred};

use crate::interfaces::time::DelayedCall;
use crate::kernel::{Reactor, WeakReactor};

/// Calls a function at each tick of an interval. Cloning is cheap, and all clones refer to the same loop.
///
/// If a call returns a Deferred, the next call waits for it, so calls never overlap. Ticks that pass in that time are
/// skipped. The next call is made at the next tick, so the phase is kept. Dropping the handles does not stop the loop.
///
/// The methods may be called from any callback on the reactor's thread, also from the function itself.
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
    reactor: WeakReactor,
    /// `None` while the call runs.
    call: Cell<Option<Call>>,
    run: RefCell<Option<Run>>,
    /// Whether a call has started and has no result yet.
    is_busy: Cell<bool>,
}

/// The state from a start to its end.
struct Run {
    interval: Duration,
    /// The moment of tick 0.
    began: Moment,
    /// The number of ticks up to the last call.
    ticks_seen: u64,
    resolver: Resolver<()>,
    scheduled: Option<DelayedCall>,
    /// Cancels the Deferred that the last call returned.
    waiting: Option<CancelHandle>,
    is_stopping: bool,
}

impl LoopingCall {
    /// Creates a loop that runs `call`. `call` gets the loop, for example to stop it, and returns nothing, a `Result`
    /// or a Deferred.
    ///
    /// A failure or a panic of `call` stops the loop.
    pub fn new<R: Outcome>(reactor: &Reactor, mut call: impl FnMut(&LoopingCall) -> R + 'static) -> LoopingCall {
        LoopingCall::with_count(reactor, move |looping, _| call(looping))
    }

    /// Creates a loop whose `call` also gets the number of ticks since the previous call. The number is 1 if no tick
    /// was missed.
    ///
    /// With an interval of zero the number is always 1.
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
    ///     looping.reactor().defer_later(second * 5 / 2, |_| ()) // takes two and a half ticks
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

    /// Starts the loop: runs the call now, and then at each tick. With an interval of zero the call runs in each turn
    /// of the loop.
    ///
    /// The Deferred fires when the loop is stopped, and fails if a call fails. Cancelling the Deferred stops the loop
    /// and cancels the Deferred of the current call. The Deferred fails with [`AlreadyLooping`] if the loop is already
    /// running or its last call has not ended.
    ///
    /// May be called from any callback on the reactor's thread.
    #[track_caller]
    pub fn start(&self, interval: Duration) -> Deferred<()> {
        self.begin(interval, 0)
    }

    /// Starts the loop, with the first call after one interval: `now=False`.
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

    /// Stops the loop. No effect when the loop is not running.
    ///
    /// If no call is in progress, the Deferred of `start` fires before this method returns. Otherwise the Deferred of
    /// `start` fires when the call, or the Deferred of the call, has its result.
    ///
    /// May be called from the call itself.
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

    /// Restarts the interval: the next call is made after one whole interval from now.
    ///
    /// No effect when the loop is not running, or while a call is in progress or its Deferred is pending.
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
    /// ping.reset(); // the peer has just sent something
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

    /// Returns whether the loop was started and has neither been stopped nor ended.
    pub fn running(&self) -> bool {
        self.0.run.borrow().as_ref().is_some_and(|run| !run.is_stopping)
    }

    /// Returns the interval of the present run.
    pub fn interval(&self) -> Option<Duration> {
        self.0.run.borrow().as_ref().map(|run| run.interval)
    }

    /// Returns the reactor whose clock the loop follows.
    ///
    /// # Panics
    /// When that reactor has been dropped, which cannot happen inside a callback.
    pub fn reactor(&self) -> Reactor {
        self.try_reactor().expect("the reactor of this loop has been dropped")
    }

    fn try_reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade()
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

/// Logs the failure of a call whose run was cancelled.
fn report(result: Result<(), Failure>) {
    let is_cancellation = result.as_ref().is_err_and(Failure::check::<Cancelled>);
    if !is_cancellation {
        // Dropping a Deferred logs its failure.
        drop(Deferred::from(result));
    }
}

impl Loop {
    /// Begins a call. Returns the number of ticks since the previous call.
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
    /// Runs when the reactor has been dropped. In this case the run ends without an error.
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
        self.interval - Duration::from_nanos(u64::try_from(into_this_one).expect("a part of the interval"))
    }
}

impl fmt::Debug for LoopingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopingCall").field("interval", &self.interval()).finish_non_exhaustive()
    }
}

/// The error of [`LoopingCall::start`] when the loop is running, or its last call has not ended.
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
        f.write_str("the loop is already running: stop it and wait for the Deferred of its start")
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

    /// Creates a loop that records the time and the ticks of each call. A call takes `work`.
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
        deferred.try_result().expect("a result").expect_err("a failure")
    }

    #[test]
    fn the_first_call_is_immediate_or_after_one_interval() {
        for (later, expected) in [(false, vec![(0.0, 1), (1.0, 1), (2.0, 1)]), (true, vec![(1.0, 1), (2.0, 1)])] {
            let clock = Clock::new();
            let (looping, calls) = noted(&clock, Duration::ZERO);
            let _end = if later { looping.start_later(SECOND) } else { looping.start(SECOND) };
            clock.advance(2 * SECOND);
            assert_eq!(*calls.borrow(), expected);
        }
    }

    #[test]
    fn slow_calls_count_missed_ticks_in_phase() {
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
    fn an_interval_of_zero_calls_in_each_turn() {
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
    fn the_longest_interval_does_not_overflow() {
        let clock = Clock::new();
        let (looping, calls) = noted(&clock, Duration::ZERO);
        let _end = looping.start(Duration::MAX);
        clock.advance(1000 * SECOND);
        assert_eq!(calls.borrow().len(), 1);
    }

    #[test]
    fn stop_cancels_the_next_call() {
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
        assert_eq!(calls.borrow().len(), 2, "a restart works");
    }

    #[test]
    fn a_stop_during_a_pending_call_waits_for_it() {
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
    fn a_failure_stops_the_loop() {
        let clock = Clock::new();
        let failing = LoopingCall::new(&clock, |_| Err::<(), _>(fmt::Error));
        assert!(failure_of(failing.start(SECOND)).check::<fmt::Error>());
        let panicking = LoopingCall::new(&clock, |_| -> () { panic!("at a tick") });
        assert!(failure_of(panicking.start(SECOND)).to_string().contains("at a tick"));
        assert!(!failing.running() && !panicking.running());
        assert!(clock.get_delayed_calls().is_empty());
        assert!(failure_of(failing.start(SECOND)).check::<fmt::Error>(), "a restart works");
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
    fn cancelling_stops_the_loop_with_its_pending_call() {
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
            assert!(!looping.start(SECOND).is_done(), "a restart works");
        }
    }

    #[test]
    fn a_loop_without_handles_runs_until_its_reactor_is_dropped() {
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
