//! A result later: `deferLater`.

use std::time::Duration;

use ropewalk_proto::{Deferred, Outcome};

use crate::kernel::Reactor;

impl Reactor {
    /// Has `call` made when `delay` has passed, and fires the Deferred with what it returns: nothing, a `Result`, or a
    /// Deferred that is waited for. A panic in it is a failure.
    ///
    /// Cancelling the Deferred cancels the call, if that was not made yet.
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
    fn the_call_is_made_in_time_and_its_deferred_waited_for() {
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
    fn a_reactor_that_goes_takes_the_call_with_it() {
        let clock = Clock::new();
        let end = clock.defer_later(SECOND, |_| ());
        drop(clock);
        assert!(end.try_result().unwrap().unwrap_err().check::<Abandoned>());
    }
}
