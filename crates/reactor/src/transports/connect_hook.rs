//! A hook that sees each new connector, for test doubles and monitors.

use std::cell::RefCell;
use std::rc::Rc;

use super::Connector;
use crate::kernel::{CallbackKind, Feature, Reactor};

type Hook = Rc<dyn Fn(&Connector)>;

/// The hook of one reactor.
#[derive(Default)]
pub(super) struct ConnectHook(RefCell<Option<Hook>>);

impl Feature for ConnectHook {
    fn new(_reactor: &Reactor) -> ConnectHook {
        ConnectHook::default()
    }
}

impl Reactor {
    /// Sets a hook that is called with each new connector, in the call that creates it and before the first attempt.
    /// `None` removes the hook.
    ///
    /// Endpoints that connect create connectors as well. May be called from any callback. A panic in the hook is logged.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use ropewalk::testing::{AccumulatingProtocol, Clock};
    ///
    /// let clock = Clock::new();
    /// let seen = Rc::new(RefCell::new(Vec::new()));
    /// let destinations = seen.clone();
    /// clock.set_connect_hook(Some(Rc::new(move |connector| destinations.borrow_mut().push(connector.destination()))));
    /// clock.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?;
    /// assert_eq!(*seen.borrow(), ["example.org:80"]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_connect_hook(&self, hook: Option<Hook>) {
        drop(self.feature::<ConnectHook>().0.replace(hook));
    }
}

/// Calls the hook, if there is one.
pub(super) fn created(reactor: &Reactor, connector: &Connector) {
    let hook = reactor.feature::<ConnectHook>().0.borrow().clone();
    if let Some(hook) = hook {
        let _ = reactor.0.guard(CallbackKind::Observer, "the connect hook", || hook(connector));
    }
}
