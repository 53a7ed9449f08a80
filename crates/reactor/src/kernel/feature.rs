//! State that a feature keeps with the reactor, and the hooks by which the feature takes part in the loop.
//!
//! The kernel knows no feature by name. A feature registers itself when it is first used, and an unused feature costs
//! nothing.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;

use super::{Kernel, Reactor};

/// The state of a feature: at most one of each type exists for a reactor.
pub(crate) trait Feature: Sized + 'static {
    /// Creates the state when the feature is first used on `reactor`.
    fn new(reactor: &Reactor) -> Self;

    /// Returns the feature's hooks, if it has any, and their position among the hooks of other features.
    fn hooks(self: &Rc<Self>) -> Option<(Order, Rc<dyn Hooks>)> {
        None
    }
}

/// The position of a feature's hooks: lower ones are called first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub(crate) u8);

/// A feature's part in the loop. Each method is called for all features in their [`Order`].
pub(crate) trait Hooks {
    /// Does what is due, in `prepare`, after calls from threads and delayed calls. Called in a turn after any feature's
    /// request through [`Attention`](super::Attention), and in each turn that a callback runs.
    fn turn(&self, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Runs the work that events have caused, before the delayed calls that became due while the loop was stalled.
    /// Called only if there is a request for [`turn`](Hooks::turn), which follows.
    fn caught_up(&self, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Requests an orderly stop of the run, because a callback panicked and the [`PanicPolicy`](super::PanicPolicy) is
    /// `Stop`.
    fn stop_requested(&self, kernel: &Kernel) {
        let _ = kernel;
    }

    /// Stops the run without an event, because a callback panicked and the policy asks for that.
    fn crash_requested(&self, kernel: &Kernel) {
        let _ = kernel;
    }

    /// Starts the parts of the feature that live as long as a run.
    fn run_started(&self, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Stops the parts of the feature that live as long as a run. All sources have been shut down.
    fn run_ended(&self, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Drops the user's objects without notifying them, because the reactor is gone.
    fn forget(&self) {}
}

type Hook = (Order, Rc<dyn Hooks>);

/// The features that are in use on one reactor.
#[derive(Default)]
pub(super) struct Features {
    states: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    /// A registration replaces the whole list, so that a list whose hooks are being called never changes.
    hooks: RefCell<Rc<[Hook]>>,
}

impl Features {
    fn get<F: 'static>(&self) -> Option<Rc<F>> {
        let states = self.states.borrow();
        let (_, state) = states.iter().find(|(id, _)| *id == TypeId::of::<F>())?;
        Rc::downcast(state.clone()).ok()
    }

    fn insert<F: Feature>(&self, feature: &Rc<F>) {
        self.states.borrow_mut().push((TypeId::of::<F>(), feature.clone()));
        if let Some((order, hooks)) = feature.hooks() {
            let mut all = self.hooks.borrow().to_vec();
            let place = all.partition_point(|(other, _)| *other <= order);
            all.insert(place, (order, hooks));
            self.hooks.replace(all.into());
        }
    }

    /// Calls `call` with each hook in order. A hook that is registered during these calls is not called.
    #[inline]
    pub(super) fn each(&self, mut call: impl FnMut(&dyn Hooks)) {
        // The list is not borrowed during a call, because the call may register a new feature.
        let all = self.hooks.borrow().clone();
        all.iter().for_each(|(_, hooks)| call(&**hooks));
    }

    /// Removes and returns the states of all features, because the reactor has been dropped.
    pub(super) fn forget(&self) -> Vec<Rc<dyn Any>> {
        drop(self.hooks.take());
        self.states.take().into_iter().map(|(_, state)| state).collect()
    }
}

impl Reactor {
    /// Returns the state of a feature. The first call creates it.
    pub(crate) fn feature<F: Feature>(&self) -> Rc<F> {
        if let Some(feature) = self.0.features.get() {
            return feature;
        }
        let feature = Rc::new(F::new(self));
        self.0.features.insert(&feature);
        feature
    }

    /// Returns the reactor's value of type `T`, which the first call creates.
    ///
    /// There is at most one value of each type, and it lives as long as the reactor. A library uses it for state that
    /// all its objects on one reactor share. `T` should be a type that the library defines for this purpose. `T` must
    /// not hold the [`Reactor`] itself, because that would be a reference cycle. Use a
    /// [`WeakReactor`](super::WeakReactor) instead.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use ropewalk::Reactor;
    ///
    /// #[derive(Default)]
    /// struct Tickets(Cell<u64>);
    ///
    /// fn next_ticket(reactor: &Reactor) -> u64 {
    ///     let tickets = reactor.extension(|_| Tickets::default());
    ///     tickets.0.set(tickets.0.get() + 1);
    ///     tickets.0.get()
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// assert_eq!([next_ticket(&reactor), next_ticket(&reactor)], [1, 2]);
    /// assert_eq!(next_ticket(&Reactor::new()?), 1); // another reactor has its own
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn extension<T: 'static>(&self, create: impl FnOnce(&Reactor) -> T) -> Rc<T> {
        let features = &self.0.features;
        if let Some(present) = features.get() {
            return present;
        }
        let created = Rc::new(create(self));
        // `create` may itself have inserted a value of this type.
        features.get().unwrap_or_else(|| {
            features.states.borrow_mut().push((TypeId::of::<T>(), created.clone()));
            created
        })
    }

    /// Calls [`Hooks::run_started`] of all features.
    pub(crate) fn start_features(&self) {
        self.0.features.each(|hooks| hooks.run_started(self));
    }

    /// Calls [`Hooks::run_ended`] of all features.
    pub(crate) fn end_features(&self) {
        self.0.features.each(|hooks| hooks.run_ended(self));
    }
}
