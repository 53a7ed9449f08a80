//! Waits until services have stopped, up to a limit.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Deferred, Failure, Resolver, report, succeed};

use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;

/// A stop in progress. Later calls of `stop` wait for the same stop.
#[derive(Default)]
pub(super) struct UnderWay(RefCell<Option<Joined>>);

/// Callers that joined the stop. `None` once the stop has completed.
type Joined = Rc<RefCell<Option<Vec<Resolver<()>>>>>;

impl UnderWay {
    /// Records a stop, so that others can wait for it.
    pub(super) fn begin(&self, stopped: Deferred<()>) -> Deferred<()> {
        if stopped.is_done() {
            return stopped;
        }
        let joined = Joined::new(RefCell::new(Some(Vec::new())));
        *self.0.borrow_mut() = Some(joined.clone());
        stopped.then(move |outcome| {
            for resolver in joined.take().into_iter().flatten() {
                let _ = resolver.callback(());
            }
            outcome
        })
    }

    /// Returns a Deferred that fires when the stop in progress completes, or at once if no stop is in progress. The
    /// Deferred succeeds even if the stop fails, because only the first caller of `stop` gets the stop's result.
    pub(super) fn join(&self) -> Deferred<()> {
        let joined = self.0.borrow().clone();
        let Some(joined) = joined else { return succeed(()) };
        match &mut *joined.borrow_mut() {
            Some(waiting) => {
                let (deferred, resolver) = Deferred::new();
                waiting.push(resolver);
                deferred
            }
            None => succeed(()),
        }
    }
}

/// A service whose stop has begun, with its name for the log.
pub(super) struct Stopping {
    pub(super) label: Rc<str>,
    pub(super) stopped: Deferred<()>,
}

/// The services that have not stopped yet.
struct Waiting {
    unfinished: RefCell<Vec<(usize, Rc<str>, CancelHandle)>>,
    resolver: Resolver<()>,
    limit: RefCell<Option<DelayedCall>>,
}

/// Returns a Deferred that fires when all services have stopped, or when `limit` has passed. Failures are logged.
pub(super) fn wait_for_all(reactor: &Reactor, limit: Option<Duration>, services: Vec<Stopping>) -> Deferred<()> {
    let (deferred, resolver) = Deferred::new();
    let handles = services.iter().enumerate();
    let handles = handles.map(|(index, service)| (index, service.label.clone(), service.stopped.cancel_handle()));
    let waiting = Rc::new(Waiting { unfinished: RefCell::new(handles.collect()), resolver, limit: RefCell::default() });
    for (index, Stopping { label, stopped }) in services.into_iter().enumerate() {
        let waiting = waiting.clone();
        stopped.add_both(move |outcome| waiting.one_stopped(index, &label, outcome));
    }
    waiting.fire_when_done();
    if !waiting.resolver.is_called() {
        let late = waiting.clone();
        let call = limit.map(|limit| reactor.call_later(limit, move |_| late.give_up(limit)));
        *waiting.limit.borrow_mut() = call;
    }
    deferred
}

impl Waiting {
    fn one_stopped(&self, index: usize, label: &str, outcome: Result<(), Failure>) {
        let mut unfinished = self.unfinished.borrow_mut();
        let place = unfinished.iter().position(|(other, ..)| *other == index);
        // A service that missed the limit has already been logged.
        let Some(place) = place else { return };
        let finished = unfinished.remove(place);
        drop(unfinished);
        drop(finished);
        if let Err(failure) = outcome {
            report!(ERROR, service = label, failure = format_args!("{failure:#}"), "the service failed to stop");
        }
        self.fire_when_done();
    }

    fn give_up(&self, limit: Duration) {
        for (_, label, handle) in self.unfinished.take() {
            report!(
                ERROR,
                service = label,
                limit = format_args!("{limit:?}"),
                "the service did not stop within its limit: no longer waiting"
            );
            handle.cancel();
        }
        self.fire_when_done();
    }

    fn fire_when_done(&self) {
        if self.unfinished.borrow().is_empty() && !self.resolver.is_called() {
            if let Some(call) = self.limit.take() {
                let _ = call.cancel();
            }
            let _ = self.resolver.callback(());
        }
    }
}
