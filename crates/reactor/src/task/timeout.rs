//! Timeouts for Deferreds and futures.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Cancelled, Deferred, Failure, Outcome};

use crate::kernel::Reactor;

/// The error of an operation that did not complete in time: Twisted's `TimeoutError`.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::TimedOut;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let limited = clock.timeout(Duration::from_secs(5), std::future::pending::<()>());
/// let outcome = clock.spawn(limited);
/// clock.advance(Duration::from_secs(5));
/// let late: TimedOut = outcome.try_result().unwrap().unwrap().unwrap_err();
/// assert_eq!(late.to_string(), "timed out after 5s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedOut {
    /// The time limit that was exceeded.
    pub after: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.after)
    }
}

impl Error for TimedOut {}

/// Returns [`Failed`](crate::Error::Failed) with the message, so that `reactor.timeout(delay, future).await?` compiles.
impl From<TimedOut> for crate::Error {
    fn from(late: TimedOut) -> crate::Error {
        crate::Error::Failed(late.to_string().into())
    }
}

/// Adds timeouts to a [`Deferred`], which has no clock of its own.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::prelude::*; // contains `AddTimeout`
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let (answer, resolver) = Deferred::new();
/// let answer = answer.add_timeout(Duration::from_secs(5), &clock);
/// resolver.callback("in time").unwrap();
/// assert_eq!(answer.try_result().unwrap().unwrap(), "in time");
/// assert!(clock.get_delayed_calls().is_empty()); // the timer has been cancelled
/// ```
pub trait AddTimeout<T: 'static>: Sized {
    /// Cancels the Deferred if it has no result after `delay`. The failure is then [`TimedOut`].
    ///
    /// If the Deferred's canceller produces another result, the Deferred keeps that result. The timeout covers the
    /// callbacks that were added before this call, but no later ones.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Deferred;
    /// use ropewalk::task::{AddTimeout, TimedOut};
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let (answer, _resolver) = Deferred::<u32>::new();
    /// let answer = answer.add_timeout(Duration::from_secs(5), &clock);
    /// clock.advance(Duration::from_secs(5));
    /// let failure = answer.try_result().unwrap().unwrap_err();
    /// assert_eq!(failure.to_string(), "timed out after 5s");
    /// assert!(failure.check::<TimedOut>());
    /// ```
    fn add_timeout(self, delay: Duration, reactor: &Reactor) -> Deferred<T>;

    /// Adds a timeout like [`add_timeout`](AddTimeout::add_timeout), with a function that chooses the result after a
    /// timeout: `onTimeoutCancel`.
    ///
    /// `on_timeout` gets the result of the cancelled Deferred and `delay`. It is not called if the result came in time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::{Deferred, Failure};
    /// use ropewalk::task::AddTimeout;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let (answer, _resolver) = Deferred::<u32>::new();
    /// let or_zero = |result: Result<u32, Failure>, _delay| result.or(Ok::<_, Failure>(0));
    /// let answer = answer.add_timeout_or(Duration::from_secs(5), &clock, or_zero);
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(answer.try_result().unwrap().unwrap(), 0);
    /// ```
    fn add_timeout_or<R: Outcome<Value = T>>(
        self,
        delay: Duration,
        reactor: &Reactor,
        on_timeout: impl FnOnce(Result<T, Failure>, Duration) -> R + 'static,
    ) -> Deferred<T>;
}

impl<T: 'static> AddTimeout<T> for Deferred<T> {
    #[track_caller]
    fn add_timeout(self, delay: Duration, reactor: &Reactor) -> Deferred<T> {
        let at = Location::caller();
        self.add_timeout_or(delay, reactor, move |result, after| match result {
            Err(failure) if is_cancellation(&failure) => Err(TimedOut { after }).into_deferred(at),
            result => result.into(),
        })
    }

    #[track_caller]
    fn add_timeout_or<R: Outcome<Value = T>>(
        self,
        delay: Duration,
        reactor: &Reactor,
        on_timeout: impl FnOnce(Result<T, Failure>, Duration) -> R + 'static,
    ) -> Deferred<T> {
        let (at, is_late) = (Location::caller(), Rc::new(Cell::new(false)));
        let (operation, late) = (self.cancel_handle(), is_late.clone());
        let call = reactor.call_later(delay, move |_| {
            late.set(true);
            operation.cancel();
        });
        self.then(move |result| {
            if is_late.get() {
                return on_timeout(result, delay).into_deferred(at);
            }
            let _ = call.cancel();
            result.into()
        })
    }
}

/// Returns whether the failure is a cancellation, or a combined failure that a cancellation caused.
fn is_cancellation(failure: &Failure) -> bool {
    failure.check::<Cancelled>() || failure.sources().any(<dyn Error>::is::<Cancelled>)
}

impl Reactor {
    /// Limits `future` to `delay` from now. After that the future is dropped.
    ///
    /// # Errors
    /// [`TimedOut`] when the future did not complete in time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::TimedOut;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let slow = clock.timeout(Duration::from_secs(1), clock.sleep(Duration::from_secs(2)));
    /// let outcome = clock.spawn(slow);
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(outcome.try_result().unwrap().unwrap().unwrap_err().after, Duration::from_secs(1));
    /// ```
    pub fn timeout<F: Future>(
        &self,
        delay: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, TimedOut>> + use<F> {
        let mut sleep = self.sleep(delay);
        async move {
            let mut future = pin!(future);
            poll_fn(move |context| {
                // The future is polled first, because a future that completes at the deadline is in time.
                let output = future.as_mut().poll(context).map(Ok);
                if output.is_ready() {
                    output
                } else {
                    Pin::new(&mut sleep).poll(context).map(|()| Err(TimedOut { after: delay }))
                }
            })
            .await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use ropewalk_proto::{Resolver, gather_results, succeed};

    use super::*;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure_of<T: fmt::Debug>(deferred: Deferred<T>) -> Failure {
        deferred.try_result().expect("a result").expect_err("a failure")
    }

    #[test]
    fn a_result_in_time_cancels_the_timer() {
        let clock = Clock::new();
        let (deferred, resolver) = Deferred::new();
        let deferred = deferred.add_timeout(SECOND, &clock);
        resolver.callback(7).unwrap();
        assert!(clock.get_delayed_calls().is_empty());
        assert_eq!(deferred.try_result().unwrap().unwrap(), 7);
        drop(succeed(()).add_timeout(SECOND, &clock));
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_timed_out_deferred_ignores_its_late_result() {
        let clock = Clock::new();
        let (deferred, resolver) = Deferred::<()>::new();
        let line = line!() + 1;
        let deferred = deferred.add_timeout(SECOND, &clock);
        clock.advance(SECOND);
        assert!(resolver.is_cancelled());
        resolver.callback(()).unwrap();
        let failure = failure_of(deferred);
        assert_eq!(failure.location().line(), line);
        assert_eq!(failure.trap::<TimedOut>().unwrap().after, SECOND);
    }

    #[test]
    fn an_explicit_cancellation_is_not_a_timeout() {
        let clock = Clock::new();
        let (deferred, _resolver) = Deferred::<()>::new();
        let deferred = deferred.add_timeout(SECOND, &clock);
        deferred.cancel();
        assert!(failure_of(deferred).check::<Cancelled>());
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn the_result_of_a_canceller_replaces_the_timeout() {
        let clock = Clock::new();
        let (deferred, _resolver) =
            Deferred::with_canceller(|resolver: &Resolver<_>| resolver.callback("part").unwrap());
        let deferred = deferred.add_timeout(SECOND, &clock);
        clock.advance(SECOND);
        assert_eq!(deferred.try_result().unwrap().unwrap(), "part");
    }

    #[test]
    fn gathered_deferreds_time_out_together() {
        let clock = Clock::new();
        let (waiting, resolver) = Deferred::new();
        let all = gather_results(vec![succeed(1), waiting]).add_timeout(SECOND, &clock);
        clock.advance(SECOND);
        assert!(failure_of(all).check::<TimedOut>());
        assert!(resolver.is_cancelled());
    }

    #[test]
    fn a_timeout_cancels_the_returned_inner_deferred() {
        let clock = Clock::new();
        let (inner, resolver) = Deferred::<()>::new();
        let outer = succeed(()).and_then(move |()| inner).add_timeout(SECOND, &clock);
        clock.advance(SECOND);
        assert!(resolver.is_cancelled());
        assert!(failure_of(outer).check::<TimedOut>());
    }

    #[test]
    fn a_future_ready_at_the_deadline_is_in_time() {
        let clock = Clock::new();
        let outcome = clock.spawn(clock.timeout(SECOND, clock.sleep(SECOND)));
        clock.advance(SECOND);
        assert_eq!(outcome.try_result().unwrap().unwrap(), Ok(()));
        let outcome = clock.spawn(clock.timeout(Duration::ZERO, ready(7)));
        clock.advance(Duration::ZERO);
        assert_eq!(outcome.try_result().unwrap().unwrap(), Ok(7));
    }

    #[test]
    fn a_timed_out_future_is_dropped() {
        let clock = Clock::new();
        let token = Rc::new(());
        let held = token.clone();
        let outcome = clock.spawn(clock.timeout(SECOND, async move {
            pending::<()>().await;
            drop(held);
        }));
        clock.advance(SECOND);
        assert_eq!(outcome.try_result().unwrap().unwrap(), Err(TimedOut { after: SECOND }));
        assert_eq!(Rc::strong_count(&token), 1);
    }
}
