//! TimerService: a function called again and again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, Moment, Resolver, succeed};

use super::Service;
use crate::interfaces::core::TriggerResult;
use crate::interfaces::time::DelayedCall;
use crate::reactor::{Reactor, guard};

/// Calls a function when it starts and then each time that `step` has passed, until it is stopped.
///
/// Calls are made at whole multiples of `step` after the start; those for which there was no time are left out. A function
/// that returns a Deferred is not called again before that has fired, and stopping waits for it. One that panics, or
/// whose Deferred fails, is logged and called no more. A step of zero is once a turn.
pub struct TimerService(Rc<Timer>);

type Function = Box<dyn FnMut(&Reactor) -> Option<Deferred<()>>>;

struct Timer {
    step: Duration,
    name: &'static str,
    function: RefCell<Function>,
    /// Counts starts, so that what an earlier run waited for does not go on in a later one.
    run: Cell<u64>,
    began: Cell<Moment>,
    call: RefCell<Option<DelayedCall>>,
    /// Between a call and its Deferred.
    busy: Cell<bool>,
    stopped: RefCell<Vec<Resolver<()>>>,
}

impl TimerService {
    /// Calls `function` each `step`.
    pub fn new<R, F>(step: Duration, mut function: F) -> TimerService
    where
        R: TriggerResult,
        F: FnMut(&Reactor) -> R + 'static,
    {
        TimerService(Rc::new(Timer {
            step,
            name: std::any::type_name::<F>(),
            function: RefCell::new(Box::new(move |reactor| function(reactor).into_deferred())),
            run: Cell::default(),
            began: Cell::new(Moment::ZERO),
            call: RefCell::default(),
            busy: Cell::default(),
            stopped: RefCell::default(),
        }))
    }
}

impl Service for TimerService {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let timer = &self.0;
        timer.run.set(timer.run.get() + 1);
        timer.began.set(reactor.now());
        // A call of the run before is still busy: its end schedules the next one.
        if !timer.busy.get() {
            timer.call(reactor);
        }
        succeed(())
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        let timer = &self.0;
        timer.run.set(timer.run.get() + 1);
        if let Some(call) = timer.call.take() {
            let _ = call.cancel();
        }
        if !timer.busy.get() {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        timer.stopped.borrow_mut().push(resolver);
        deferred
    }
}

impl Timer {
    fn call(self: &Rc<Timer>, reactor: &Reactor) {
        self.busy.set(true);
        let run = self.run.get();
        // Busy, so nobody else borrows it.
        let outcome = guard(&reactor.0, self.name, || (self.function.borrow_mut())(reactor));
        let finished = match outcome {
            Ok(deferred) => deferred.unwrap_or_else(|| succeed(())),
            // It was logged as a panic.
            Err(_) => return self.end(),
        };
        let (timer, reactor) = (self.clone(), reactor.downgrade());
        finished.add_both(move |outcome| {
            let reactor = reactor.upgrade().map(Reactor);
            match (outcome, reactor) {
                (Err(failure), _) => timer.fail(run, &failure),
                (Ok(()), Some(reactor)) => timer.go_on(run, &reactor),
                (Ok(()), None) => timer.end(),
            }
        });
    }

    fn fail(&self, run: u64, failure: &Failure) {
        // A stop may have cancelled what it waited for.
        if run == self.run.get() {
            tracing::error!(function = self.name, failure = format!("{failure:#}"), "a timer's function failed");
        }
        self.end();
    }

    fn go_on(self: &Rc<Timer>, run: u64, reactor: &Reactor) {
        self.end();
        // Odd numbers run, even ones are stopped.
        if self.run.get() % 2 == 0 {
            return;
        }
        if run != self.run.get() {
            return self.call(reactor);
        }
        let timer = Rc::downgrade(self);
        let call = reactor.call_later(self.until_next(reactor), move |reactor| {
            if let Some(timer) = timer.upgrade() {
                timer.call.take();
                timer.call(reactor);
            }
        });
        *self.call.borrow_mut() = Some(call);
    }

    fn until_next(&self, reactor: &Reactor) -> Duration {
        let (elapsed, step) = ((reactor.now() - self.began.get()).as_nanos(), self.step.as_nanos());
        match elapsed.checked_rem(step) {
            Some(into_step) => Duration::from_nanos(u64::try_from(step - into_step).unwrap_or(u64::MAX)),
            None => Duration::ZERO,
        }
    }

    /// The present call is over.
    fn end(&self) {
        self.busy.set(false);
        for resolver in self.stopped.take() {
            let _ = resolver.callback(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ServiceHandle;
    use crate::error::Error;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// When the function was called, in seconds.
    #[derive(Clone, Default)]
    struct Calls(Rc<RefCell<Vec<f64>>>);

    impl Calls {
        fn note(&self, reactor: &Reactor) {
            self.0.borrow_mut().push(reactor.seconds());
        }

        fn take(&self) -> Vec<f64> {
            self.0.take()
        }
    }

    fn every(step: Duration) -> (Clock, Calls, ServiceHandle) {
        let (clock, calls) = (Clock::new(), Calls::default());
        let note = calls.clone();
        let service = ServiceHandle::new(TimerService::new(step, move |reactor| note.note(reactor)));
        (clock, calls, service)
    }

    #[test]
    fn it_calls_at_once_and_then_each_step_until_it_is_stopped() {
        let (clock, calls, service) = every(2 * SECOND);
        service.start(&clock);
        clock.advance(5 * SECOND);
        assert_eq!(calls.take(), [0.0, 2.0, 4.0]);
        assert!(service.stop(&clock).is_done());
        clock.advance(5 * SECOND);
        assert_eq!(calls.take(), []);
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn started_again_it_counts_from_there() {
        let (clock, calls, service) = every(2 * SECOND);
        service.start(&clock);
        clock.advance(SECOND);
        service.stop(&clock);
        service.start(&clock);
        clock.advance(3 * SECOND);
        assert_eq!(calls.take(), [0.0, 1.0, 3.0]);
    }

    #[test]
    fn it_waits_for_a_deferred_leaves_out_what_it_missed_and_keeps_to_its_steps() {
        let (clock, calls) = (Clock::new(), Calls::default());
        let note = calls.clone();
        let service = ServiceHandle::new(TimerService::new(2 * SECOND, move |reactor: &Reactor| {
            note.note(reactor);
            let (deferred, resolver) = Deferred::new();
            reactor.call_later(5 * SECOND, move |_| resolver.callback(()).unwrap());
            deferred
        }));
        service.start(&clock);
        clock.advance(13 * SECOND);
        assert_eq!(calls.take(), [0.0, 6.0, 12.0]);
    }

    #[test]
    fn stopping_waits_for_the_call_that_is_under_way() {
        let clock = Clock::new();
        let service = ServiceHandle::new(TimerService::new(SECOND, |reactor: &Reactor| {
            let (deferred, resolver) = Deferred::new();
            reactor.call_later(5 * SECOND, move |_| resolver.callback(()).unwrap());
            deferred
        }));
        service.start(&clock);
        clock.advance(2 * SECOND);
        let stopped = service.stop(&clock);
        clock.advance(2 * SECOND);
        assert!(!stopped.is_done());
        clock.advance(SECOND);
        assert!(stopped.is_done());
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn started_again_while_a_call_is_under_way_it_goes_on_after_that() {
        let (clock, calls) = (Clock::new(), Calls::default());
        let note = calls.clone();
        let service = ServiceHandle::new(TimerService::new(2 * SECOND, move |reactor: &Reactor| {
            note.note(reactor);
            let (deferred, resolver) = Deferred::new();
            reactor.call_later(SECOND, move |_| resolver.callback(()).unwrap());
            deferred
        }));
        service.start(&clock);
        service.stop(&clock);
        service.start(&clock);
        clock.advance(4 * SECOND);
        assert_eq!(calls.take(), [0.0, 1.0, 4.0]);
    }

    #[test]
    fn a_function_that_fails_or_panics_is_called_no_more() {
        let (clock, calls) = (Clock::new(), Calls::default());
        let (fails, panics) = (calls.clone(), calls.clone());
        let fails = TimerService::new(SECOND, move |reactor: &Reactor| {
            fails.note(reactor);
            ropewalk_proto::fail::<()>(Error::TimedOut)
        });
        let panics = TimerService::new(SECOND, move |reactor| {
            panics.note(reactor);
            if reactor.seconds() > 0.0 {
                panic!("enough");
            }
        });
        for service in [ServiceHandle::new(fails), ServiceHandle::new(panics)] {
            service.start(&clock);
            clock.advance(3 * SECOND);
            assert!(service.stop(&clock).is_done());
        }
        assert_eq!(calls.take(), [0.0, 3.0]);
    }

    #[test]
    fn stopping_in_its_own_function_is_done_when_the_function_is() {
        let clock = Clock::new();
        let place = Rc::new(RefCell::new(None::<ServiceHandle>));
        let own = place.clone();
        let service = ServiceHandle::new(TimerService::new(SECOND, move |reactor| {
            if let Some(service) = own.take() {
                assert!(!service.stop(reactor).is_done());
            }
        }));
        *place.borrow_mut() = Some(service.clone());
        service.start(&clock);
        assert!(clock.get_delayed_calls().is_empty());
        assert!(!service.running());
    }
}
