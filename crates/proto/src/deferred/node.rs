//! The links of a chain, and how a result runs along them.
//!
//! ```text
//!   Resolver --> Source ......... Stage ......... Stage ........ Deferred
//!                outlet --link--> work            work
//!                                 outlet --link--> outlet <----- looks here, or adds the next stage
//! ```
//!
//! Each node owns the next one. A result is put into a stage, the stage runs and puts what it made into the next: a loop
//! ([`drive`]), not a recursion, so the length of a chain is not limited by the stack. When a callback returns a Deferred
//! that has not fired, a relay is hooked to the end of that one, which will carry the result back. If the chain ends in a
//! relay itself, that one is moved: for a loop in which each Deferred returns the next, nothing piles up.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::task::Waker;

use super::errors::{Abandoned, FirstError, Panicked, WaitsForItself};
use super::failure::Failure;
use super::origin::Origin;
use super::{Pending, State};

/// The end of a node: who gets its result.
pub(super) enum Outlet<T> {
    /// A Deferred, which has not asked.
    Open,
    /// A Deferred that a task awaits.
    Awaited(Waker),
    /// A Deferred, which finds the result here.
    Done(Result<T, Failure>),
    /// The next stage.
    Linked(Rc<dyn Inlet<T>>),
    /// The chain that waits for this one.
    Relayed(Rc<Relay<T>>),
    /// Nobody, so that a failure must be reported.
    Detached,
    /// Nobody, who wants no report either.
    Ignored,
}

/// What a Deferred can stand at the end of.
pub(super) trait Node<T> {
    fn outlet(&self) -> &Cell<Outlet<T>>;
}

/// What takes a result.
pub(super) trait Inlet<T> {
    /// Keeps the result; the answer has to be run.
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run>;
}

pub(super) trait Run {
    /// Works on the result that was put in, and answers with what has to be run next.
    ///
    /// `origin` is the beginning of the chain that this belongs to; where the result crosses into another chain, it becomes
    /// that one's.
    fn run(self: Rc<Self>, origin: &mut Rc<dyn Origin>) -> Option<Rc<dyn Run>>;
}

pub(super) fn drive(mut next: Option<Rc<dyn Run>>, mut origin: Rc<dyn Origin>) {
    while let Some(node) = next {
        next = node.run(&mut origin);
    }
}

/// Fills a cell that is known to hold nothing: the compiler is not, and would look for something to drop.
#[inline]
pub(super) fn fill<C>(cell: &Cell<C>, content: C) {
    std::mem::forget(cell.replace(content));
}

/// Hands a result on to whoever stands at the outlet.
#[inline]
pub(super) fn settle<T: 'static>(outlet: &Cell<Outlet<T>>, result: Result<T, Failure>) -> Option<Rc<dyn Run>> {
    match outlet.replace(Outlet::Detached) {
        Outlet::Linked(next) => return Some(next.put(result)),
        Outlet::Relayed(relay) => return Some(relay.put(result)),
        Outlet::Open => fill(outlet, Outlet::Done(result)),
        Outlet::Awaited(waker) => {
            outlet.set(Outlet::Done(result));
            waker.wake();
        }
        Outlet::Detached => report(result),
        Outlet::Ignored => {}
        Outlet::Done(_) => unreachable!("a node has one result"),
    }
    None
}

/// Logs a failure that nobody will look at.
pub(super) fn report<T>(result: Result<T, Failure>) {
    let Err(failure) = result else { return };
    let cause = first_cause(&failure);
    if cause.check::<Abandoned>() {
        // Nothing went wrong: a result will not come, and nobody waits for it.
        tracing::debug!(at = %failure.location(), "a Deferred that nobody waited for was abandoned");
    } else if !cause.is_logged() {
        tracing::error!(error = %format_args!("{failure:#}"), at = %failure.location(), "unhandled error in a Deferred");
    }
}

/// The failure itself, or the one of several that failed the whole.
fn first_cause(failure: &Failure) -> &Failure {
    match failure.downcast_ref::<FirstError>() {
        Some(first) => first_cause(&first.failure),
        None => failure,
    }
}

/// Runs a callback; its panic is a failure.
#[inline]
pub(super) fn guarded<T, U: 'static>(
    work: impl FnOnce(Result<T, Failure>) -> State<U>,
    input: Result<T, Failure>,
    at: &'static Location<'static>,
) -> State<U> {
    caught(|| work(input), at).unwrap_or_else(|failure| State::Done(Err(failure)))
}

/// Runs what the user gave us at the line `at`; a panic is a failure from there.
#[inline]
pub(super) fn caught<R>(work: impl FnOnce() -> R, at: &'static Location<'static>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Failure::located(Box::new(Panicked::new(&*payload)), at))
}

/// A callback between two results.
pub(super) struct Stage<T, U, F> {
    work: Cell<Option<F>>,
    input: Cell<Option<Result<T, Failure>>>,
    outlet: Cell<Outlet<U>>,
    /// Where the callback was added.
    at: &'static Location<'static>,
}

impl<T, U, F> Stage<T, U, F> {
    pub(super) fn new(work: F, at: &'static Location<'static>) -> Self {
        Stage { work: Cell::new(Some(work)), input: Cell::new(None), outlet: Cell::new(Outlet::Open), at }
    }
}

impl<T, U, F> Node<U> for Stage<T, U, F> {
    fn outlet(&self) -> &Cell<Outlet<U>> {
        &self.outlet
    }
}

impl<T: 'static, U: 'static, F: FnOnce(Result<T, Failure>) -> State<U> + 'static> Inlet<T> for Stage<T, U, F> {
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        fill(&self.input, Some(result));
        self
    }
}

impl<T: 'static, U: 'static, F: FnOnce(Result<T, Failure>) -> State<U> + 'static> Run for Stage<T, U, F> {
    fn run(self: Rc<Self>, origin: &mut Rc<dyn Origin>) -> Option<Rc<dyn Run>> {
        let (work, input) = self.work.take().zip(self.input.take())?;
        match guarded(work, input, self.at) {
            State::Done(result) => settle(&self.outlet, result),
            State::Pending(inner) => {
                let at = self.at;
                Relay { target: self, origin: origin.clone(), input: Cell::new(None) }.wait_for(inner, at)
            }
        }
    }
}

/// Carries the result of an inner chain back to the outer one, a callback of which returned it.
pub(super) struct Relay<T> {
    target: Rc<dyn Node<T>>,
    origin: Rc<dyn Origin>,
    input: Cell<Option<Result<T, Failure>>>,
}

impl<T: 'static> Relay<T> {
    fn wait_for(self, inner: Pending<T>, at: &'static Location<'static>) -> Option<Rc<dyn Run>> {
        if let Outlet::Done(result) = inner.node.outlet().replace(Outlet::Detached) {
            return settle(self.target.outlet(), result);
        }
        // A chain has one end. Who holds it while a callback of the same chain runs, waits for that callback.
        if std::ptr::addr_eq(Rc::as_ptr(&self.origin), Rc::as_ptr(&inner.origin)) {
            return settle(self.target.outlet(), Err(Failure::located(Box::new(WaitsForItself), at)));
        }
        self.origin.line().wait_for(inner.origin.clone());
        inner.node.outlet().set(match self.target.outlet().replace(Outlet::Detached) {
            Outlet::Relayed(relay) => {
                relay.origin.line().wait_for(inner.origin);
                Outlet::Relayed(relay)
            }
            other => {
                self.target.outlet().set(other);
                Outlet::Relayed(Rc::new(self))
            }
        });
        None
    }

    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        self.input.set(Some(result));
        self
    }
}

impl<T: 'static> Run for Relay<T> {
    fn run(self: Rc<Self>, origin: &mut Rc<dyn Origin>) -> Option<Rc<dyn Run>> {
        origin.clone_from(&self.origin);
        settle(self.target.outlet(), self.input.take()?)
    }
}
