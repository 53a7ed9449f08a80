//! Counts the users of each factory: its ports and connectors. The first user starts the factory, and the end of the
//! last one stops the factory.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::error::Result;
use crate::kernel::{CallbackKind, Feature, Reactor};
use crate::protocols::Factory;

/// The number of users of each factory, by the factory's identity.
#[derive(Default)]
struct FactoryUsers(RefCell<HashMap<*const (), usize>>);

impl Feature for FactoryUsers {
    fn new(_reactor: &Reactor) -> FactoryUsers {
        FactoryUsers::default()
    }
}

/// Adds a user, and calls `start_factory` for the first one: `doStart`.
pub(super) fn start_factory(reactor: &Reactor, factory: &(impl Factory + ?Sized)) {
    let identity = identity(reactor, factory);
    let users = {
        let counts = reactor.feature::<FactoryUsers>();
        let mut counts = counts.0.borrow_mut();
        let users = counts.entry(identity).or_insert(0);
        *users += 1;
        *users
    };
    if users == 1 {
        let _ = reactor.0.guard(CallbackKind::Factory, "start_factory", || factory.start_factory());
    }
}

/// Removes a user, and calls `stop_factory` for the last one: `doStop`. Fails when `stop_factory` panics.
pub(super) fn stop_factory(reactor: &Reactor, factory: &(impl Factory + ?Sized)) -> Result<()> {
    let identity = identity(reactor, factory);
    let last = {
        let counts = reactor.feature::<FactoryUsers>();
        let mut counts = counts.0.borrow_mut();
        let Some(users) = counts.get_mut(&identity) else { return Ok(()) };
        *users -= 1;
        let last = *users == 0;
        if last {
            counts.remove(&identity);
        }
        last
    };
    if last { reactor.0.guard(CallbackKind::Factory, "stop_factory", || factory.stop_factory()) } else { Ok(()) }
}

/// Asks the factory for its identity. The factory is user code, so no count is borrowed during the call. If the call
/// panics, the factory's address is its identity.
fn identity(reactor: &Reactor, factory: &(impl Factory + ?Sized)) -> *const () {
    let asked = reactor.0.guard(CallbackKind::Factory, "identity", || factory.identity());
    asked.unwrap_or(std::ptr::from_ref(factory).cast())
}
