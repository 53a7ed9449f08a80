//! A user's callback as a node of a chain.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use super::chain::{Chain, Next, Node, Output, Relay, Run, State, fill, settle};
use super::errors::Panicked;
use super::failure::Failure;
use crate::panics::catch;

pub(super) struct Callback<T, U, F> {
    function: Cell<Option<F>>,
    input: Cell<Option<Result<T, Failure>>>,
    output: Cell<Output<U>>,
    /// The location where the callback was added.
    at: &'static Location<'static>,
}

impl<T, U, F> Callback<T, U, F> {
    pub(super) fn new(function: F, at: &'static Location<'static>) -> Self {
        Callback { function: Cell::new(Some(function)), input: Cell::new(None), output: Cell::new(Output::Open), at }
    }
}

impl<T, U, F> Node<U> for Callback<T, U, F> {
    fn output(&self) -> &Cell<Output<U>> {
        &self.output
    }
}

impl<T: 'static, U: 'static, F: FnOnce(Result<T, Failure>) -> State<U> + 'static> Next<T> for Callback<T, U, F> {
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        fill(&self.input, Some(result));
        self
    }
}

impl<T: 'static, U: 'static, F: FnOnce(Result<T, Failure>) -> State<U> + 'static> Run for Callback<T, U, F> {
    fn run(self: Rc<Self>, chain: &mut Rc<dyn Chain>) -> Option<Rc<dyn Run>> {
        let (function, input) = self.function.take().zip(self.input.take())?;
        match guarded(function, input, self.at) {
            State::Done(result) => settle(&self.output, result),
            State::Pending(inner) => {
                let at = self.at;
                Relay::wait_for(inner, self, chain, at)
            }
        }
    }
}

/// Calls `function`. A panic in it becomes a failure.
#[inline]
pub(super) fn guarded<T, U: 'static>(
    function: impl FnOnce(Result<T, Failure>) -> State<U>,
    input: Result<T, Failure>,
    at: &'static Location<'static>,
) -> State<U> {
    caught(|| function(input), at).unwrap_or_else(|failure| State::Done(Err(failure)))
}

/// Calls user code. A panic in it becomes a failure with the place of the panic, or `at` if that is unknown.
#[inline]
pub(super) fn caught<R>(code: impl FnOnce() -> R, at: &'static Location<'static>) -> Result<R, Failure> {
    catch(code).map_err(|panic| {
        let place = panic.place().filter(|place| !place.is_in_std()).cloned();
        Failure::located(Box::new(Panicked::new(panic.message())), place.unwrap_or_else(|| at.into()))
    })
}
