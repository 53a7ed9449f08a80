//! Hooks that see each new connector, for test doubles and monitors.

use std::cell::RefCell;
use std::rc::Rc;

use super::Connector;
use crate::kernel::{CallbackKind, Feature, Reactor};

type Hook = Rc<dyn Fn(&Connector)>;

/// The hooks of one reactor, in the order in which they were added.
#[derive(Default)]
pub(super) struct ConnectHooks(RefCell<Vec<Hook>>);

impl Feature for ConnectHooks {
    fn new(_reactor: &Reactor) -> ConnectHooks {
        ConnectHooks::default()
    }
}

impl Reactor {
    /// Adds a hook that is called with each new connector, in the call that creates it and before the first attempt.
    ///
    /// Several hooks are called in the order in which they were added. The reactor keeps them until it is dropped.
    /// Endpoints that connect create connectors as well. May be called from any callback. A panic in a hook is logged.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use ropewalk::testing::{AccumulatingProtocol, Clock};
    ///
    /// let clock = Clock::new();
    /// let seen = Rc::new(RefCell::new(Vec::new()));
    /// let destinations = seen.clone();
    /// clock.add_connect_hook(move |connector| destinations.borrow_mut().push(connector.destination()));
    /// clock.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?;
    /// assert_eq!(*seen.borrow(), ["example.org:80"]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn add_connect_hook(&self, hook: impl Fn(&Connector) + 'static) {
        self.feature::<ConnectHooks>().0.borrow_mut().push(Rc::new(hook));
    }
}

/// Calls the hooks.
pub(super) fn created(reactor: &Reactor, connector: &Connector) {
    let hooks = reactor.feature::<ConnectHooks>().0.borrow().clone();
    for hook in hooks {
        let _ = reactor.0.guard(CallbackKind::Observer, "a connect hook", || hook(connector));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    #[test]
    fn a_hook_of_the_test_leaves_the_record_of_requests_alone() {
        let net = MemoryReactor::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let destinations = seen.clone();
        net.add_connect_hook(move |connector| destinations.borrow_mut().push(connector.destination()));
        net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()).unwrap();
        assert_eq!(*seen.borrow(), ["10.0.0.1:80"]);
        assert_eq!(net.connect_requests().len(), 1);
    }
}
