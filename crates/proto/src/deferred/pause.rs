//! Pausing a Deferred.
//!
//! ```text
//!   Callback ... Gate ... Callback        paused: the gate keeps the result
//!                 ^
//!               Pause                     unpaused or dropped: the gate passes the result on
//! ```

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Deferred;
use super::chain::{Chain, Next, Node, Output, Pending, Run, State, drive, settle};
use super::failure::Failure;
use super::source::Source;

impl<T: 'static> Deferred<T> {
    /// Pauses the Deferred: callbacks added from now on wait until the [`Pause`] is lifted, even if the result is
    /// there.
    ///
    /// Callbacks added earlier are not paused. A Deferred that is paused twice continues when both pauses are lifted.
    /// Cancelling a paused Deferred that holds its result has no effect. May be called from any callback.
    ///
    /// Source: `pause` and `unpause` of Twisted's Deferred.
    ///
    /// # Panics
    /// If the result was taken by `await`.
    ///
    /// ```
    /// use ropewalk_proto::succeed;
    ///
    /// let mut deferred = succeed(7);
    /// let pause = deferred.pause();
    /// let end = deferred.add_callback(|number| number + 1);
    /// assert!(!end.is_done());
    /// pause.unpause();
    /// assert_eq!(end.try_result().unwrap().unwrap(), 8);
    /// ```
    #[track_caller]
    pub fn pause(&mut self) -> Pause {
        let gate = Rc::new(Gate::default());
        let chain = match self.state.take().expect("a Deferred whose result has not been awaited") {
            State::Done(result) => gate.hold(result, Source::<T>::fired(Location::caller())),
            State::Pending(Pending { node, chain }) => match node.output().replace(Output::Detached) {
                Output::Done(result) => gate.hold(result, chain),
                _ => {
                    node.output().set(Output::Linked(gate.clone()));
                    chain
                }
            },
        };
        self.state = Some(State::Pending(Pending { node: gate.clone(), chain }));
        Pause(gate)
    }
}

/// A pause of a Deferred, which lasts until it is lifted or dropped. See [`Deferred::pause`].
///
/// ```
/// use ropewalk_proto::succeed;
///
/// let mut deferred = succeed("news");
/// let pause = deferred.pause();
/// let printed = deferred.add_callback(|news| println!("{news}"));
/// assert!(!printed.is_done());
/// drop(pause); // like `unpause`
/// assert!(printed.is_done());
/// ```
#[must_use = "dropping a pause lifts it"]
pub struct Pause(Rc<dyn Lift>);

impl Pause {
    /// Lifts the pause. If the result is there, the waiting callbacks run before this returns.
    ///
    /// May be called from any callback.
    pub fn unpause(self) {}
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.clone().lift();
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}

trait Lift {
    fn lift(self: Rc<Self>);
}

/// A node that keeps the result while a pause lasts.
struct Gate<T> {
    lifted: Cell<bool>,
    input: Cell<Option<Result<T, Failure>>>,
    /// The chain of the result that is kept.
    chain: Cell<Option<Rc<dyn Chain>>>,
    output: Cell<Output<T>>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Gate {
            lifted: Cell::new(false),
            input: Cell::new(None),
            chain: Cell::new(None),
            output: Cell::new(Output::Open),
        }
    }
}

impl<T> Gate<T> {
    fn hold(&self, result: Result<T, Failure>, chain: Rc<dyn Chain>) -> Rc<dyn Chain> {
        self.input.set(Some(result));
        self.chain.set(Some(chain.clone()));
        chain
    }
}

impl<T: 'static> Lift for Gate<T> {
    fn lift(self: Rc<Self>) {
        self.lifted.set(true);
        if let Some(chain) = self.chain.take() {
            drive(Some(self), chain);
        }
    }
}

impl<T> Node<T> for Gate<T> {
    fn output(&self) -> &Cell<Output<T>> {
        &self.output
    }
}

impl<T: 'static> Next<T> for Gate<T> {
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        self.input.set(Some(result));
        self
    }
}

impl<T: 'static> Run for Gate<T> {
    fn run(self: Rc<Self>, chain: &mut Rc<dyn Chain>) -> Option<Rc<dyn Run>> {
        if self.lifted.get() {
            return settle(&self.output, self.input.take()?);
        }
        self.chain.set(Some(chain.clone()));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fmt;

    use super::super::tests::{LONG, failure_of, logged_by, value_of};
    use super::super::{Cancelled, succeed};
    use super::*;

    #[test]
    fn a_pause_delays_only_callbacks_added_after_it() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let note = |text: &'static str| {
            let log = log.clone();
            move |()| log.borrow_mut().push(text)
        };
        let (deferred, resolver) = Deferred::new();
        let mut deferred = deferred.add_callback(note("before"));
        let pause = deferred.pause();
        let end = deferred.add_callback(note("behind"));
        resolver.callback(()).unwrap();
        assert_eq!(*log.borrow(), ["before"]);
        pause.unpause();
        assert_eq!(*log.borrow(), ["before", "behind"]);
        value_of(end);
    }

    #[test]
    fn a_pause_lifted_before_the_result_delays_nothing() {
        let (mut deferred, resolver) = Deferred::new();
        deferred.pause().unpause();
        resolver.callback(1).unwrap();
        assert_eq!(value_of(deferred), 1);
    }

    #[test]
    fn a_deferred_paused_twice_waits_for_both_pauses() {
        for outer_first in [true, false] {
            let mut deferred = succeed(1);
            let mut pauses = vec![deferred.pause(), deferred.pause()];
            if outer_first {
                pauses.reverse();
            }
            pauses.pop();
            assert!(!deferred.is_done());
            pauses.pop();
            assert_eq!(value_of(deferred), 1);
        }
    }

    #[test]
    fn cancelling_a_paused_deferred_stops_its_operation() {
        let (mut deferred, resolver) = Deferred::<u32>::new();
        let pause = deferred.pause();
        deferred.cancel();
        assert!(resolver.is_cancelled());
        assert!(!deferred.is_done());
        drop(pause);
        assert!(failure_of(deferred).check::<Cancelled>());
    }

    #[test]
    fn cancelling_a_paused_deferred_keeps_a_result_it_holds() {
        let (mut deferred, resolver) = Deferred::new();
        let pause = deferred.pause();
        resolver.callback(2).unwrap();
        deferred.cancel();
        drop(pause);
        assert_eq!(value_of(deferred), 2);
    }

    #[test]
    fn a_chain_waits_for_a_returned_paused_deferred() {
        let mut inner = succeed(3);
        let pause = inner.pause();
        let outer = succeed(()).and_then(move |()| inner);
        assert!(!outer.is_done());
        pause.unpause();
        assert_eq!(value_of(outer), 3);
    }

    #[test]
    fn an_unhandled_failure_is_logged_when_its_pause_is_lifted() {
        let lines = logged_by(|| {
            let (mut deferred, resolver) = Deferred::<()>::new();
            let pause = deferred.pause();
            resolver.errback(fmt::Error).unwrap();
            drop(deferred);
            drop(pause);
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_long_chain_of_pauses_is_lifted_without_recursion() {
        let (mut deferred, resolver) = Deferred::new();
        let mut pauses = Vec::new();
        for _ in 0..LONG {
            pauses.push(deferred.pause());
            deferred = deferred.add_callback(|count: usize| count + 1);
        }
        resolver.callback(0).unwrap();
        pauses.reverse();
        let first = pauses.pop();
        drop(pauses);
        drop(first);
        assert_eq!(value_of(deferred), LONG);
    }
}
