//! The nodes of a chain, and how a result moves along them.
//!
//! ```text
//!   Resolver --> Source ............. Callback ........... Callback ....... Deferred
//!                output --Linked-->   function             function
//!                                     output --Linked-->   output <-------- reads the result, or adds a callback
//! ```
//!
//! - A *chain* is a source and the callbacks added behind it. It is fired once, by its resolvers.
//! - A *node* is a source, a callback or a pause. It owns the next node. A Deferred refers to the last node of its
//!   chain.
//! - The *output* of a node is its result, or what to do with the result when it comes.
//! - A *relay* moves the result of an inner chain back to the outer chain, whose callback returned the inner Deferred.
//!
//! A result is put into a node. The node runs and puts its own result into the next one. [`drive`] does that in a loop,
//! so the length of a chain is not limited by the stack. If a callback returns a Deferred that has not fired, a relay
//! becomes the output of that Deferred's node. If the outer chain itself ends in a relay, that relay is moved instead.
//! So a loop in which each Deferred returns the next one keeps no memory of earlier turns.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;

use super::errors::{Abandoned, FirstError, WaitsForItself};
use super::failure::Failure;
use crate::report;

/// The state of a Deferred, and the return value of a callback.
pub(super) enum State<T> {
    Done(Result<T, Failure>),
    Pending(Pending<T>),
}

/// The last node of a chain, and the chain itself.
pub(super) struct Pending<T> {
    pub(super) node: Rc<dyn Node<T>>,
    pub(super) chain: Rc<dyn Chain>,
}

/// The result of a node, or what to do with it.
pub(super) enum Output<T> {
    /// No result yet: keep it for the Deferred.
    Open,
    /// No result yet: keep it for the Deferred, and wake the task that awaits it.
    Awaited(Waker),
    /// The result, kept for the Deferred.
    Done(Result<T, Failure>),
    /// Put the result into the next node.
    Linked(Rc<dyn Next<T>>),
    /// Put the result into the outer chain.
    Relayed(Rc<Relay<T>>),
    /// The Deferred was dropped: log a failure.
    Detached,
    /// The Deferred was dropped by the task that awaited it: ignore a failure.
    Ignored,
}

pub(super) trait Node<T> {
    fn output(&self) -> &Cell<Output<T>>;
}

/// A node that takes the result of the node before it.
pub(super) trait Next<T> {
    /// Keeps `result` until the returned node is run.
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run>;
}

pub(super) trait Run {
    /// Works on the result that was put in. Returns the node to run next.
    ///
    /// `chain` is the chain of this node. It is replaced if the result moves to another chain.
    fn run(self: Rc<Self>, chain: &mut Rc<dyn Chain>) -> Option<Rc<dyn Run>>;
}

/// A chain, without the type of its values. Its source implements this.
pub(super) trait Chain {
    fn state(&self) -> &ChainState;

    /// Cancels the operation behind the chain, unless the chain has fired.
    fn cancel_operation(self: Rc<Self>, at: &'static Location<'static>);
}

#[derive(Default)]
pub(super) struct ChainState {
    pub(super) called: Cell<bool>,
    pub(super) cancelled: Cell<bool>,
    /// Set by a cancellation without a canceller: the operation still runs, so its one firing is ignored.
    pub(super) swallow_one: Cell<bool>,
    /// The chain of the Deferred that a callback of this chain last returned.
    waits_for: Cell<Option<Rc<dyn Chain>>>,
}

impl ChainState {
    pub(super) fn wait_for(&self, inner: Rc<dyn Chain>) {
        self.waits_for.set(Some(inner));
    }

    fn waits_for(&self) -> Option<Rc<dyn Chain>> {
        let inner = self.waits_for.take();
        self.waits_for.set(inner.clone());
        inner
    }
}

impl Drop for ChainState {
    /// Drops the chains that wait for one another in a loop, because a recursion could overflow the stack.
    fn drop(&mut self) {
        let mut next = self.waits_for.take();
        while let Some(inner) = next {
            next = if Rc::strong_count(&inner) == 1 { inner.state().waits_for.take() } else { None };
        }
    }
}

pub(super) fn drive(mut next: Option<Rc<dyn Run>>, mut chain: Rc<dyn Chain>) {
    while let Some(node) = next {
        next = node.run(&mut chain);
    }
}

/// Fills a cell that holds nothing to drop. `set` would generate code for the drop, because the compiler cannot know
/// that.
#[inline]
pub(super) fn fill<C>(cell: &Cell<C>, content: C) {
    std::mem::forget(cell.replace(content));
}

/// Treats `result` as `output` says. Returns the node to run next.
#[inline]
pub(super) fn settle<T: 'static>(output: &Cell<Output<T>>, result: Result<T, Failure>) -> Option<Rc<dyn Run>> {
    match output.replace(Output::Detached) {
        Output::Linked(next) => return Some(next.put(result)),
        Output::Relayed(relay) => return Some(relay.put(result)),
        Output::Open => fill(output, Output::Done(result)),
        Output::Awaited(waker) => {
            output.set(Output::Done(result));
            waker.wake();
        }
        Output::Detached => report_unhandled(result),
        Output::Ignored => {}
        Output::Done(_) => unreachable!("a node has one result"),
    }
    None
}

/// Cancels what the chain waits for: its own operation, or the operation behind the Deferred that a callback returned.
pub(super) fn cancel(mut chain: Rc<dyn Chain>, at: &'static Location<'static>) {
    while let Some(inner) = chain.state().waits_for() {
        chain = inner;
    }
    chain.cancel_operation(at);
}

impl<T: 'static> Pending<T> {
    /// Cancels an awaited Deferred whose task was dropped. A failure is ignored.
    pub(super) fn give_up(self) {
        self.node.output().set(Output::Ignored);
        cancel(self.chain, Location::caller());
    }
}

/// Logs a failure that no callback will see.
pub(super) fn report_unhandled<T>(result: Result<T, Failure>) {
    let Err(failure) = result else { return };
    let cause = first_cause(&failure);
    if cause.check::<Abandoned>() {
        // This is not an error: no result will come, and no callback waits for one.
        tracing::debug!(at = %failure.location(), "a Deferred was abandoned, and no callback waited for it");
    } else if !cause.is_logged() {
        report!(ERROR, error = format_args!("{failure:#}"), at = failure.location(), "unhandled error in a Deferred");
    }
}

/// Returns the failure itself, or the failure inside a [`FirstError`].
fn first_cause(failure: &Failure) -> &Failure {
    match failure.downcast_ref::<FirstError>() {
        Some(first) => first_cause(&first.failure),
        None => failure,
    }
}

/// Moves the result of an inner chain to the outer chain, whose callback returned the inner Deferred.
pub(super) struct Relay<T> {
    target: Rc<dyn Node<T>>,
    outer: Rc<dyn Chain>,
    input: Cell<Option<Result<T, Failure>>>,
}

impl<T: 'static> Relay<T> {
    /// Makes `target`, a node of `outer`, take the result of `inner`. Returns the node to run next, if the result is
    /// there.
    ///
    /// `at` is where the callback that returned `inner` was added.
    pub(super) fn wait_for(
        inner: Pending<T>,
        target: Rc<dyn Node<T>>,
        outer: &Rc<dyn Chain>,
        at: &'static Location<'static>,
    ) -> Option<Rc<dyn Run>> {
        if let Output::Done(result) = inner.node.output().replace(Output::Detached) {
            return settle(target.output(), result);
        }
        // A chain has one end. A callback that returns the end of its own chain waits for itself.
        if std::ptr::addr_eq(Rc::as_ptr(outer), Rc::as_ptr(&inner.chain)) {
            return settle(target.output(), Err(Failure::located(Box::new(WaitsForItself), at)));
        }
        outer.state().wait_for(inner.chain.clone());
        inner.node.output().set(match target.output().replace(Output::Detached) {
            Output::Relayed(relay) => {
                relay.outer.state().wait_for(inner.chain);
                Output::Relayed(relay)
            }
            other => {
                target.output().set(other);
                Output::Relayed(Rc::new(Relay { target, outer: outer.clone(), input: Cell::new(None) }))
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
    fn run(self: Rc<Self>, chain: &mut Rc<dyn Chain>) -> Option<Rc<dyn Run>> {
        chain.clone_from(&self.outer);
        settle(self.target.output(), self.input.take()?)
    }
}
