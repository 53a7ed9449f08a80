//! TimerService: a function called at regular intervals.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, Resolver, report, succeed};

use super::Service;
use crate::interfaces::core::TriggerResult;
use crate::kernel::{CallbackKind, Reactor};
use crate::task::LoopingCall;

/// Calls a function at the start and then each time that `step` has passed, until the service is stopped: a
/// [`LoopingCall`] as a service.
///
/// Calls are made at whole multiples of `step` after the start. Calls that are overdue by a whole step or more are
/// skipped. With a step of zero the function is called once a turn.
///
/// If the function returns a Deferred, both the next call and a stop wait until the Deferred has fired. A start after
/// such a stop takes effect once the Deferred has fired. If the function panics or its Deferred fails, the failure is
/// logged and the calls stop.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::application::{ServiceHandle, TimerService};
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let sweeps = Rc::new(Cell::new(0));
/// let count = sweeps.clone();
/// let sweeper = ServiceHandle::new(TimerService::new(Duration::from_secs(60), move |_| count.set(count.get() + 1)));
/// sweeper.start(&clock);
/// clock.advance(Duration::from_secs(120));
/// assert_eq!(sweeps.get(), 3); // at 0, 60 and 120 s
/// assert!(sweeper.stop(&clock).is_done());
/// ```
pub struct TimerService(Rc<Timer>);

type Function = Box<dyn FnMut(&Reactor) -> Option<Deferred<()>>>;

struct Timer {
    step: Duration,
    name: &'static str,
    function: RefCell<Function>,
    is_wanted: Cell<bool>,
    /// The present run, or an earlier one whose last call is still in progress.
    looping: RefCell<Option<LoopingCall>>,
    stopped: RefCell<Vec<Resolver<()>>>,
}

impl TimerService {
    /// Creates a service that calls `function` every `step`.
    pub fn new<R, F>(step: Duration, mut function: F) -> TimerService
    where
        R: TriggerResult,
        F: FnMut(&Reactor) -> R + 'static,
    {
        TimerService(Rc::new(Timer {
            step,
            name: std::any::type_name::<F>(),
            function: RefCell::new(Box::new(move |reactor| function(reactor).into_deferred())),
            is_wanted: Cell::default(),
            looping: RefCell::default(),
            stopped: RefCell::default(),
        }))
    }
}

impl fmt::Debug for TimerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timer { step, name, .. } = &*self.0;
        f.debug_struct("TimerService").field("step", step).field("function", name).finish_non_exhaustive()
    }
}

impl Service for TimerService {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let timer = &self.0;
        timer.is_wanted.set(true);
        // If the last call of the previous run is still in progress, the end of that call begins the next run.
        if timer.looping.borrow().is_none() {
            timer.begin(reactor);
        }
        succeed(())
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        let timer = &self.0;
        timer.is_wanted.set(false);
        let looping = timer.looping.borrow().clone();
        if let Some(looping) = looping {
            looping.stop();
        }
        if timer.looping.borrow().is_none() {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        timer.stopped.borrow_mut().push(resolver);
        // The waiting Deferred keeps the timer alive.
        let own = timer.clone();
        deferred.then(move |outcome| {
            drop(own);
            outcome
        })
    }
}

impl Timer {
    fn begin(self: &Rc<Timer>, reactor: &Reactor) {
        let timer = Rc::downgrade(self);
        let looping = LoopingCall::new(reactor, move |looping| match timer.upgrade() {
            Some(timer) => timer.call(looping),
            // The service was dropped without a stop.
            None => ended(looping),
        });
        // The looping call is stored before it starts, because its function may stop the service.
        *self.looping.borrow_mut() = Some(looping.clone());
        let (timer, handle) = (Rc::downgrade(self), reactor.downgrade());
        looping.start(self.step).add_both(move |outcome| {
            let Some(timer) = timer.upgrade() else { return };
            timer.end(outcome);
            if let Some(reactor) = handle.upgrade() {
                timer.begin_again(&reactor);
            }
        });
    }

    fn call(&self, looping: &LoopingCall) -> Deferred<()> {
        // Calls do not overlap, so the borrow cannot fail.
        let reactor = looping.reactor();
        let function = || (self.function.borrow_mut())(&reactor);
        let outcome = reactor.call_guarded(CallbackKind::Service, self.name, function);
        match outcome {
            Ok(finished) => finished.unwrap_or_else(|| succeed(())),
            // The guard has logged the panic.
            Err(_) => {
                self.is_wanted.set(false);
                ended(looping)
            }
        }
    }

    /// Handles the end of a run, after its last call.
    fn end(&self, outcome: Result<(), Failure>) {
        self.looping.take();
        if let Err(failure) = outcome {
            // If a stop cancelled the Deferred that the run was waiting for, this is not a failure.
            if self.is_wanted.replace(false) {
                report!(
                    ERROR,
                    function = self.name,
                    failure = format_args!("{failure:#}"),
                    "the timer function failed: its calls stop"
                );
            }
        }
        for resolver in self.stopped.take() {
            let _ = resolver.callback(());
        }
    }

    /// Begins the next run if `start` was called while the last call was in progress.
    fn begin_again(self: &Rc<Timer>, reactor: &Reactor) {
        if self.is_wanted.get() && self.looping.borrow().is_none() {
            self.begin(reactor);
        }
    }
}

fn ended(looping: &LoopingCall) -> Deferred<()> {
    looping.stop();
    succeed(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ServiceHandle;
    use crate::error::Error;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// The times of the calls, in seconds.
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
    fn the_function_is_called_at_every_step_until_the_stop() {
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
    fn a_restart_counts_steps_from_the_new_start() {
        let (clock, calls, service) = every(2 * SECOND);
        service.start(&clock);
        clock.advance(SECOND);
        service.stop(&clock);
        service.start(&clock);
        clock.advance(3 * SECOND);
        assert_eq!(calls.take(), [0.0, 1.0, 3.0]);
    }

    #[test]
    fn steps_during_a_pending_deferred_are_skipped() {
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
    fn stop_waits_for_the_call_in_progress() {
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
    fn a_start_during_a_call_takes_effect_after_that_call() {
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
        assert_eq!(calls.take(), [0.0, 1.0, 3.0]);
    }

    #[test]
    fn a_function_that_fails_or_panics_is_not_called_again() {
        let (clock, calls) = (Clock::new(), Calls::default());
        clock.set_panic_policy(crate::PanicPolicy::Log);
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
    fn a_stop_from_its_own_function_completes_after_the_call() {
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
