//! What a whole chain shares: whether it was fired, and what cancelling it means.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use super::errors::{AlreadyCalled, Cancelled};
use super::failure::Failure;
use super::node::{Node, Outlet, Run, caught, drive, report, settle};
use super::resolver::Resolver;

/// The beginning of a chain, without the type of its value.
pub(super) trait Origin {
    fn line(&self) -> &Line;

    /// Cancels the operation, if it has not fired.
    fn cancel_operation(self: Rc<Self>, at: &'static Location<'static>);
}

#[derive(Default)]
pub(super) struct Line {
    pub(super) called: Cell<bool>,
    pub(super) cancelled: Cell<bool>,
    /// Cancelled without a canceller: the operation runs on, and fires once to no effect.
    pub(super) swallow_one: Cell<bool>,
    /// The chain whose result a callback of this one last returned.
    waits_for: Cell<Option<Rc<dyn Origin>>>,
}

impl Line {
    pub(super) fn wait_for(&self, inner: Rc<dyn Origin>) {
        self.waits_for.set(Some(inner));
    }

    fn waits_for(&self) -> Option<Rc<dyn Origin>> {
        let inner = self.waits_for.take();
        self.waits_for.set(inner.clone());
        inner
    }
}

impl Drop for Line {
    /// Takes the chains that wait for one another apart in a loop: there may be more of them than stack.
    fn drop(&mut self) {
        let mut next = self.waits_for.take();
        while let Some(inner) = next {
            next = if Rc::strong_count(&inner) == 1 { inner.line().waits_for.take() } else { None };
        }
    }
}

/// Cancels what the chain waits for: its own operation, or the one behind the Deferred that a callback returned.
pub(super) fn cancel(mut origin: Rc<dyn Origin>, at: &'static Location<'static>) {
    while let Some(inner) = origin.line().waits_for() {
        origin = inner;
    }
    origin.cancel_operation(at);
}

type Canceller<T> = Box<dyn FnOnce(&Resolver<T>)>;

/// The beginning of a chain: what its resolvers fire.
pub(super) struct Source<T: 'static> {
    line: Line,
    pub(super) outlet: Cell<Outlet<T>>,
    pub(super) canceller: Cell<Option<Canceller<T>>>,
    pub(super) resolvers: Cell<usize>,
    pub(super) made_at: &'static Location<'static>,
}

impl<T: 'static> Source<T> {
    pub(super) fn new(made_at: &'static Location<'static>) -> Rc<Source<T>> {
        Rc::new(Source {
            line: Line::default(),
            outlet: Cell::new(Outlet::Open),
            canceller: Cell::new(None),
            resolvers: Cell::new(0),
            made_at,
        })
    }

    /// The beginning of a chain whose result is there.
    pub(super) fn fired(made_at: &'static Location<'static>) -> Rc<Source<T>> {
        let source = Source::new(made_at);
        source.line.called.set(true);
        source
    }

    /// Begins to run the chain: the answer has to be run.
    ///
    /// # Errors
    /// [`AlreadyCalled`] when it has fired, save for the one time after a cancellation without a canceller.
    pub(super) fn fire(&self, result: Result<T, Failure>) -> Result<Option<Rc<dyn Run>>, AlreadyCalled> {
        if !self.line.called.replace(true) {
            self.canceller.take();
            return Ok(settle(&self.outlet, result));
        }
        if self.line.swallow_one.replace(false) { Ok(None) } else { Err(AlreadyCalled) }
    }
}

impl<T: 'static> Origin for Source<T> {
    fn line(&self) -> &Line {
        &self.line
    }

    fn cancel_operation(self: Rc<Self>, at: &'static Location<'static>) {
        if self.line.called.get() || self.line.cancelled.replace(true) {
            return;
        }
        // Held until the Deferred has fired: that the canceller drops the last resolver is not abandoning it.
        let resolver = Resolver::new(self.clone());
        let canceller = self.canceller.take();
        let is_unstoppable = canceller.is_none();
        let outcome = canceller.map_or(Ok(()), |canceller| caught(|| canceller(&resolver), at));
        if self.line.called.get() {
            return report(outcome);
        }
        let failure = outcome.err().unwrap_or_else(|| Failure::located(Box::new(Cancelled), at));
        if let Ok(next) = self.fire(Err(failure)) {
            self.line.swallow_one.set(is_unstoppable);
            drive(next, self.clone());
        }
    }
}

impl<T: 'static> Node<T> for Source<T> {
    fn outlet(&self) -> &Cell<Outlet<T>> {
        &self.outlet
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::super::tests::{LONG, failure_of, logged_by, value_of};
    use super::super::{CancelHandle, Deferred, Panicked, Resolver, succeed};
    use super::*;

    fn cancelled<T: std::fmt::Debug>(deferred: Deferred<T>) -> bool {
        failure_of(deferred).check::<Cancelled>()
    }

    #[test]
    fn cancelling_calls_the_canceller_and_fails() {
        let calls = Rc::new(Cell::new(0));
        let count = calls.clone();
        let (deferred, resolver) = Deferred::<()>::with_canceller(move |_| count.set(count.get() + 1));
        let end = deferred.add_callback(|()| ());
        assert!(!resolver.is_cancelled());
        end.cancel();
        end.cancel();
        assert_eq!(calls.get(), 1);
        assert!(resolver.is_cancelled());
        assert!(cancelled(end));
    }

    #[test]
    fn the_failure_comes_from_the_line_that_cancelled() {
        let (deferred, _resolver) = Deferred::<()>::new();
        let line = line!() + 1;
        deferred.cancel();
        assert_eq!(failure_of(deferred).location().line(), line);
    }

    #[test]
    fn a_canceller_may_fire_the_deferred_itself() {
        let (deferred, _resolver) = Deferred::with_canceller(|resolver| resolver.callback("part").unwrap());
        deferred.cancel();
        assert_eq!(value_of(deferred), "part");
    }

    #[test]
    fn a_canceller_may_drop_the_last_resolver() {
        let holder = Rc::new(Cell::new(None));
        let held = holder.clone();
        let (deferred, resolver) = Deferred::<()>::with_canceller(move |_| drop(held.take()));
        holder.set(Some(resolver));
        deferred.cancel();
        assert!(cancelled(deferred));
    }

    #[test]
    fn a_canceller_that_cancels_again_may_still_fire() {
        let handle = Rc::new(Cell::new(None::<CancelHandle>));
        let held = handle.clone();
        let (deferred, _resolver) = Deferred::with_canceller(move |resolver| {
            held.take().expect("the handle of this Deferred").cancel();
            resolver.callback("part").unwrap();
        });
        handle.set(Some(deferred.cancel_handle()));
        deferred.cancel();
        assert_eq!(value_of(deferred), "part");
    }

    #[test]
    fn a_panic_of_the_canceller_is_the_failure() {
        let (deferred, _resolver) = Deferred::<()>::with_canceller(|_| panic!("of the canceller"));
        deferred.cancel();
        assert!(failure_of(deferred).check::<Panicked>());
        let lines = logged_by(|| {
            let (deferred, _resolver) = Deferred::with_canceller(|resolver| {
                resolver.callback(1).unwrap();
                panic!("after firing");
            });
            deferred.cancel();
            assert_eq!(value_of(deferred), 1);
        });
        assert!(lines[0].contains("after firing"), "{lines:?}");
    }

    #[test]
    fn without_a_canceller_exactly_one_later_firing_is_swallowed() {
        let (deferred, resolver) = Deferred::new();
        deferred.cancel();
        assert_eq!(resolver.callback(1), Ok(()));
        assert_eq!(resolver.callback(2), Err(AlreadyCalled));
        assert!(cancelled(deferred));
    }

    #[test]
    fn the_swallowed_firing_may_come_from_an_errback() {
        let (deferred, resolver) = Deferred::<()>::new();
        let again = resolver.clone();
        let end = deferred.add_both(move |_| [again.callback(()), again.callback(())]);
        end.cancel();
        assert_eq!(value_of(end), [Ok(()), Err(AlreadyCalled)]);
        drop(resolver);
    }

    #[test]
    fn with_a_canceller_a_later_firing_is_an_error() {
        let (deferred, resolver) = Deferred::with_canceller(|_| ());
        deferred.cancel();
        assert_eq!(resolver.callback(1), Err(AlreadyCalled));
        assert!(cancelled(deferred));
    }

    #[test]
    fn the_canceller_of_a_fired_deferred_is_dropped_and_not_called() {
        let token = Rc::new(());
        let held = token.clone();
        let (deferred, resolver) = Deferred::with_canceller(move |_| unreachable!("{held:?}"));
        resolver.callback(3).unwrap();
        assert_eq!(Rc::strong_count(&token), 1);
        deferred.cancel();
        assert!(!resolver.is_cancelled());
        assert_eq!(value_of(deferred), 3);
    }

    #[test]
    fn a_deferred_that_waits_for_another_cancels_that_one() {
        for add_before_firing in [true, false] {
            let (outer, fire_outer) = Deferred::with_canceller(|_| unreachable!("the outer one has fired"));
            let (inner, fire_inner) = Deferred::<()>::with_canceller(|_| ());
            let handle = outer.cancel_handle();
            let end = if add_before_firing {
                let end = outer.and_then(move |()| inner);
                fire_outer.callback(()).unwrap();
                end
            } else {
                fire_outer.callback(()).unwrap();
                outer.and_then(move |()| inner)
            };
            assert!(!fire_inner.is_cancelled());
            handle.cancel();
            assert!(fire_inner.is_cancelled());
            assert!(cancelled(end));
        }
    }

    #[test]
    fn cancelling_reaches_the_innermost_of_many_without_recursion() {
        let (innermost, resolver) = Deferred::<()>::with_canceller(|_| ());
        let mut handles = Vec::new();
        let end = (0..LONG).fold(innermost, |inner, _| {
            let (outer, fire_outer) = Deferred::new();
            handles.push(outer.cancel_handle());
            let end = outer.and_then(move |()| inner);
            fire_outer.callback(()).unwrap();
            end
        });
        end.cancel();
        assert!(resolver.is_cancelled());
        assert!(cancelled(end));
        // The first handle's chain waits for the innermost, the last one's for all the others.
        handles.drain(..LONG - 1);
        drop(handles);
    }

    #[test]
    fn cancelling_a_loop_of_deferreds_reaches_the_newest() {
        type Newest = Rc<Cell<Option<Resolver<()>>>>;

        fn again(newest: Newest) -> Deferred<()> {
            let (deferred, resolver) = Deferred::with_canceller(|_| ());
            newest.set(Some(resolver));
            deferred.and_then(move |()| again(newest))
        }

        let newest = Newest::default();
        let first = again(newest.clone());
        let handle = first.cancel_handle();
        let end = succeed(()).and_then(move |()| first).add_callback(|()| ());
        for _ in 0..5 {
            newest.take().unwrap().callback(()).unwrap();
        }
        let resolver = newest.take().unwrap();
        end.cancel();
        assert!(resolver.is_cancelled());
        assert!(cancelled(end));
        handle.cancel();
    }

    #[test]
    fn a_handle_of_a_deferred_that_was_returned_still_cancels_it() {
        let (outer, fire_outer) = Deferred::new();
        let (inner, _fire_inner) = Deferred::<()>::new();
        let handle = inner.cancel_handle();
        let end = outer.and_then(move |()| inner);
        fire_outer.callback(()).unwrap();
        handle.cancel();
        assert!(cancelled(end));
    }

    #[test]
    fn cancelling_what_is_done_changes_nothing() {
        let deferred = succeed(1);
        deferred.cancel();
        deferred.cancel_handle().cancel();
        assert_eq!(value_of(deferred), 1);
    }
}
