//! The firing side of a chain: its source, and the resolvers that fire it.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::callback::caught;
use super::chain::{Chain, ChainState, Next, Node, Output, Run, drive, report_unhandled, settle};
use super::errors::{Abandoned, AlreadyCalled, Cancelled};
use super::failure::Failure;

type Canceller<T> = Box<dyn FnOnce(&Resolver<T>)>;

/// The first node of a chain.
pub(super) struct Source<T: 'static> {
    state: ChainState,
    output: Cell<Output<T>>,
    canceller: Cell<Option<Canceller<T>>>,
    /// The number of resolvers.
    resolvers: Cell<usize>,
    made_at: &'static Location<'static>,
}

impl<T: 'static> Source<T> {
    pub(super) fn new(made_at: &'static Location<'static>) -> Rc<Source<T>> {
        Rc::new(Source {
            state: ChainState::default(),
            output: Cell::new(Output::Open),
            canceller: Cell::new(None),
            resolvers: Cell::new(0),
            made_at,
        })
    }

    /// Creates the source of a chain that has fired.
    pub(super) fn fired(made_at: &'static Location<'static>) -> Rc<Source<T>> {
        let source = Source::new(made_at);
        source.state.called.set(true);
        source
    }

    /// Starts to fire the chain. Returns the node to run next.
    ///
    /// # Errors
    /// [`AlreadyCalled`] if the chain has fired. After a cancellation without a canceller, one call is ignored instead.
    fn fire(&self, result: Result<T, Failure>) -> Result<Option<Rc<dyn Run>>, AlreadyCalled> {
        if !self.state.called.replace(true) {
            self.canceller.take();
            return Ok(settle(&self.output, result));
        }
        if self.state.swallow_one.replace(false) { Ok(None) } else { Err(AlreadyCalled) }
    }
}

impl<T: 'static> Chain for Source<T> {
    fn state(&self) -> &ChainState {
        &self.state
    }

    fn cancel_operation(self: Rc<Self>, at: &'static Location<'static>) {
        if self.state.called.get() || self.state.cancelled.replace(true) {
            return;
        }
        // The resolver is kept until the chain has fired, so a canceller that drops the last other resolver does not
        // abandon the Deferred.
        let resolver = Resolver::new(self.clone());
        let canceller = self.canceller.take();
        let is_unstoppable = canceller.is_none();
        let outcome = canceller.map_or(Ok(()), |canceller| caught(|| canceller(&resolver), at));
        if self.state.called.get() {
            return report_unhandled(outcome);
        }
        let failure = outcome.err().unwrap_or_else(|| Failure::located(Box::new(Cancelled), at));
        if let Ok(next) = self.fire(Err(failure)) {
            self.state.swallow_one.set(is_unstoppable);
            drive(next, self.clone());
        }
    }
}

impl<T: 'static> Node<T> for Source<T> {
    fn output(&self) -> &Cell<Output<T>> {
        &self.output
    }
}

/// Fires a [`Deferred`](crate::Deferred) once, with a value or a failure.
///
/// Clones fire the same Deferred. If the last clone is dropped without firing, the Deferred fails with [`Abandoned`]. A
/// resolver cannot be sent to another thread. Its methods may be called from any callback.
///
/// Source: the methods `callback`, `errback` and `cancel` of Twisted's Deferred.
///
/// ```
/// use ropewalk_proto::{Deferred, Resolver};
///
/// struct Question {
///     resolver: Resolver<u32>,
/// }
///
/// let (answer, resolver) = Deferred::new();
/// let question = Question { resolver };
/// assert!(!question.resolver.is_called());
/// question.resolver.callback(42)?;
/// assert_eq!(answer.try_result().unwrap().unwrap(), 42);
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
pub struct Resolver<T: 'static> {
    source: Rc<Source<T>>,
}

impl<T: 'static> Resolver<T> {
    pub(super) fn new(source: Rc<Source<T>>) -> Resolver<T> {
        source.resolvers.set(source.resolvers.get() + 1);
        Resolver { source }
    }

    /// Fires with a value. The callbacks run before this returns.
    ///
    /// # Errors
    /// [`AlreadyCalled`] if the Deferred has fired. After a cancellation without a canceller, the first call is ignored
    /// instead, because the operation could not know of the cancellation.
    ///
    /// ```
    /// use ropewalk_proto::{AlreadyCalled, Deferred};
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// let length = deferred.add_callback(str::len);
    /// assert_eq!(resolver.callback("rope"), Ok(()));
    /// assert_eq!(resolver.callback("again"), Err(AlreadyCalled));
    /// assert_eq!(length.try_result().unwrap().unwrap(), 4);
    /// ```
    pub fn callback(&self, value: T) -> Result<(), AlreadyCalled> {
        self.fire(Ok(value))
    }

    /// Fires with a failure. The callbacks run before this returns.
    ///
    /// # Errors
    /// Like [`Resolver::callback`].
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::<u32>::new();
    /// resolver.errback(std::fmt::Error)?;
    /// assert_eq!(deferred.add_errback(|_| 0).try_result().unwrap().unwrap(), 0);
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    #[track_caller]
    pub fn errback(&self, failure: impl Into<Failure>) -> Result<(), AlreadyCalled> {
        self.fire(Err(failure.into()))
    }

    /// Fires with a `Result`. The callbacks run before this returns.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, Failure};
    ///
    /// let (number, resolver) = Deferred::new();
    /// resolver.fire("17".parse::<u32>().map_err(Failure::from))?;
    /// assert_eq!(number.try_result().unwrap().unwrap(), 17);
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    ///
    /// # Errors
    /// Like [`Resolver::callback`].
    pub fn fire(&self, result: Result<T, Failure>) -> Result<(), AlreadyCalled> {
        let next = self.source.fire(result)?;
        drive(next, self.source.clone());
        Ok(())
    }

    /// Sets the function that stops the operation if the Deferred is cancelled before it fires. The function replaces
    /// an earlier one.
    ///
    /// The canceller may fire the resolver that it is given. If it does not, the Deferred fails with
    /// [`Cancelled`](crate::Cancelled). The canceller is dropped when the Deferred fires.
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// resolver.set_canceller(|resolver| resolver.callback("the part received so far").unwrap());
    /// deferred.cancel();
    /// assert_eq!(deferred.try_result().unwrap().unwrap(), "the part received so far");
    /// ```
    pub fn set_canceller(&self, canceller: impl FnOnce(&Resolver<T>) + 'static) {
        if !self.is_called() {
            self.source.canceller.set(Some(Box::new(canceller)));
        }
    }

    /// Returns whether the Deferred has fired.
    pub fn is_called(&self) -> bool {
        self.source.state.called.get()
    }

    /// Returns whether the Deferred was cancelled before it fired.
    ///
    /// An operation that cannot be stopped calls this to skip the rest of its work.
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::<u32>::new();
    /// deferred.cancel();
    /// if !resolver.is_cancelled() {
    ///     unreachable!("the long computation is skipped");
    /// }
    /// assert_eq!(resolver.callback(1), Ok(())); // ignored, and not an error
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.source.state.cancelled.get()
    }

    /// Returns whether the Deferred was dropped without a callback, so that no code will get the result.
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::<u32>::new();
    /// assert!(!resolver.is_detached());
    /// drop(deferred);
    /// assert!(resolver.is_detached());
    /// ```
    pub fn is_detached(&self) -> bool {
        let output = self.source.output.replace(Output::Detached);
        let is_detached = matches!(output, Output::Detached);
        self.source.output.set(output);
        is_detached
    }

    /// Fires with the result of `node`, now or when it comes.
    pub(super) fn fire_from(self, node: &dyn Node<T>) {
        match node.output().replace(Output::Detached) {
            Output::Done(result) => drop(self.fire(result)),
            _ => node.output().set(Output::Linked(Rc::new(Chained { resolver: self, input: Cell::new(None) }))),
        }
    }
}

impl<T: 'static> Clone for Resolver<T> {
    fn clone(&self) -> Self {
        Resolver::new(self.source.clone())
    }
}

impl<T: 'static> Drop for Resolver<T> {
    fn drop(&mut self) {
        let left = self.source.resolvers.get() - 1;
        self.source.resolvers.set(left);
        if left == 0 && !self.is_called() {
            let failure = Failure::located(Box::new(Abandoned), self.source.made_at);
            let _ = self.fire(Err(failure));
        }
    }
}

impl<T: 'static> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("called", &self.is_called()).finish_non_exhaustive()
    }
}

/// The end of a chain that fires another one: [`Deferred::chain`](crate::Deferred::chain).
struct Chained<T: 'static> {
    resolver: Resolver<T>,
    input: Cell<Option<Result<T, Failure>>>,
}

impl<T: 'static> Next<T> for Chained<T> {
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        self.input.set(Some(result));
        self
    }
}

impl<T: 'static> Run for Chained<T> {
    fn run(self: Rc<Self>, chain: &mut Rc<dyn Chain>) -> Option<Rc<dyn Run>> {
        *chain = self.resolver.source.clone();
        self.resolver.source.fire(self.input.take()?).ok().flatten()
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
    fn cancelling_calls_the_canceller_once() {
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
    fn a_cancellation_has_the_line_that_cancelled() {
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
    fn a_panicking_canceller_fails_the_deferred() {
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
    fn one_firing_is_ignored_after_a_cancellation() {
        let (deferred, resolver) = Deferred::new();
        deferred.cancel();
        assert_eq!(resolver.callback(1), Ok(()));
        assert_eq!(resolver.callback(2), Err(AlreadyCalled));
        assert!(cancelled(deferred));
    }

    #[test]
    fn the_ignored_firing_may_come_from_an_errback() {
        let (deferred, resolver) = Deferred::<()>::new();
        let again = resolver.clone();
        let end = deferred.add_both(move |_| [again.callback(()), again.callback(())]);
        end.cancel();
        assert_eq!(value_of(end), [Ok(()), Err(AlreadyCalled)]);
        drop(resolver);
    }

    #[test]
    fn firing_after_a_cancellation_by_a_canceller_is_an_error() {
        let (deferred, resolver) = Deferred::with_canceller(|_| ());
        deferred.cancel();
        assert_eq!(resolver.callback(1), Err(AlreadyCalled));
        assert!(cancelled(deferred));
    }

    #[test]
    fn the_canceller_of_a_fired_deferred_is_dropped() {
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
    fn cancelling_a_chain_cancels_the_deferred_it_waits_for() {
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
    fn cancelling_reaches_the_innermost_chain_without_recursion() {
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
        // The chain of the last handle waits for all the other chains. That chain must be dropped without recursion as
        // well.
        handles.drain(..LONG - 1);
        drop(handles);
    }

    #[test]
    fn cancelling_a_loop_of_deferreds_cancels_the_newest() {
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
    fn a_handle_cancels_a_deferred_that_a_callback_returned() {
        let (outer, fire_outer) = Deferred::new();
        let (inner, _fire_inner) = Deferred::<()>::new();
        let handle = inner.cancel_handle();
        let end = outer.and_then(move |()| inner);
        fire_outer.callback(()).unwrap();
        handle.cancel();
        assert!(cancelled(end));
    }

    #[test]
    fn cancelling_a_done_deferred_changes_nothing() {
        let deferred = succeed(1);
        deferred.cancel();
        deferred.cancel_handle().cancel();
        assert_eq!(value_of(deferred), 1);
    }
}
