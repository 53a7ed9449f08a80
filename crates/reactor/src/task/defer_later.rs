//! A delayed call with a result: `deferLater`.

use std::time::Duration;

use ropewalk_proto::{Deferred, Outcome};

use crate::kernel::Reactor;

impl Reactor {
    /// Schedules `call` to run after `delay`, and returns a Deferred of its result.
    ///
    /// `call` may return nothing, a `Result`, or a Deferred, which is then awaited. A panic in `call` is a failure.
    /// Cancelling the Deferred cancels the call if it has not run yet.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Failure;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let answer = clock.defer_later(Duration::from_secs(1), |_reactor| Ok::<_, Failure>(42));
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(answer.try_result().unwrap().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn defer_later<R: Outcome>(
        &self,
        delay: Duration,
        call: impl FnOnce(&Reactor) -> R + 'static,
    ) -> Deferred<R::Value> {
        let (due, resolver) = Deferred::new();
        let fire = resolver.clone();
        let delayed = self.call_later(delay, move |reactor| {
            let _ = fire.callback(reactor.clone());
        });
        resolver.set_canceller(move |_| {
            let _ = delayed.cancel();
        });
        due.and_then(move |reactor| call(&reactor))
    }
}

#[cfg(test)]
mod tests {
    use ropewalk_proto::{Abandoned, Cancelled, succeed};

    use super::*;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_result_waits_for_the_deferred_of_the_call() {
        let clock = Clock::new();
        let end = clock.defer_later(SECOND, |reactor| reactor.defer_later(SECOND, |_| succeed("twice")));
        clock.advance(SECOND);
        assert!(!end.is_done());
        clock.advance(SECOND);
        assert_eq!(end.try_result().unwrap().unwrap(), "twice");
    }

    #[test]
    fn cancelling_cancels_the_call() {
        let clock = Clock::new();
        let end = clock.defer_later(SECOND, |_| -> Deferred<()> { panic!("cancelled") });
        end.cancel();
        assert!(clock.get_delayed_calls().is_empty());
        assert!(end.try_result().unwrap().unwrap_err().check::<Cancelled>());
    }

    #[test]
    fn dropping_the_reactor_drops_the_call() {
        let clock = Clock::new();
        let end = clock.defer_later(SECOND, |_| ());
        drop(clock);
        assert!(end.try_result().unwrap().unwrap_err().check::<Abandoned>());
    }
}
