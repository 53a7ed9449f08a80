//! What a whole chain shares: whether it was fired, and what cancelling it means.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use super::errors::{AlreadyCalled, Cancelled};
use super::failure::Failure;
use super::node::{Node, Outlet, Run, drive, settle};
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
        let has_canceller = canceller.is_some();
        if let Some(canceller) = canceller {
            canceller(&resolver);
        }
        if let Ok(next) = self.fire(Err(Failure::located(Box::new(Cancelled), at))) {
            self.line.swallow_one.set(!has_canceller);
            drive(next, self.clone());
        }
    }
}

impl<T: 'static> Node<T> for Source<T> {
    fn outlet(&self) -> &Cell<Outlet<T>> {
        &self.outlet
    }
}
