//! Counts the ports and connectors of each factory: it is started by the first and stopped after the last.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{Kernel, guard};
use crate::protocols::Factory;

/// Users by the identity of their factory.
#[derive(Default)]
pub(crate) struct Factories(RefCell<HashMap<*const (), usize>>);

impl Kernel {
    /// `doStart`.
    pub(crate) fn start_factory(&self, factory: &(impl Factory + ?Sized)) {
        let users = {
            let mut counts = self.factories.0.borrow_mut();
            let users = counts.entry(factory.identity()).or_insert(0);
            *users += 1;
            *users
        };
        if users == 1 {
            let _ = guard(self, "start_factory", || factory.start_factory());
        }
    }

    /// `doStop`.
    pub(crate) fn stop_factory(&self, factory: &(impl Factory + ?Sized)) {
        let last = {
            let mut counts = self.factories.0.borrow_mut();
            let Some(users) = counts.get_mut(&factory.identity()) else { return };
            *users -= 1;
            let last = *users == 0;
            if last {
                counts.remove(&factory.identity());
            }
            last
        };
        if last {
            let _ = guard(self, "stop_factory", || factory.stop_factory());
        }
    }
}
