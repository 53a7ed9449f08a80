//! The connectors that are connecting, so that the end of a run can fail their attempts.
//!
//! An attempt has a source only while a socket of it is connecting. Before that, the attempt waits for its first turn or
//! for a name look-up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::connector::ConnectorInner;
use crate::error::Error;
use crate::interfaces::order;
use crate::kernel::{Feature, Hooks, Order, Reactor};

/// The connectors that are connecting, in the order in which their attempts began.
#[derive(Default)]
pub(super) struct Attempts {
    under_way: RefCell<BTreeMap<u64, Rc<ConnectorInner>>>,
    next_number: Cell<u64>,
}

impl Feature for Attempts {
    fn new(_reactor: &Reactor) -> Attempts {
        Attempts::default()
    }

    fn hooks(self: &Rc<Attempts>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::ATTEMPTS, self.clone()))
    }
}

impl Hooks for Attempts {
    /// Fails the attempts that have no source. Those with a source have failed already.
    ///
    /// A factory may connect again when an attempt fails. Such an attempt waits for the next run, as delayed calls do.
    fn run_ended(&self, _reactor: &Reactor) {
        let under_way = self.under_way.take();
        under_way.into_values().for_each(|connector| connector.fail(Error::UserAborted));
    }

    fn forget(&self) {
        drop(self.under_way.take());
    }
}

impl Attempts {
    /// Adds the attempt of `connector`, and returns its number.
    pub(super) fn begin(&self, connector: &Rc<ConnectorInner>) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.under_way.borrow_mut().insert(number, connector.clone());
        number
    }

    /// Removes the attempt with this number, which has succeeded or failed.
    pub(super) fn end(&self, number: u64) {
        let ended = self.under_way.borrow_mut().remove(&number);
        drop(ended);
    }
}
