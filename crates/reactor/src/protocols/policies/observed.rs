//! A protocol whose connection is observed from the start.

use std::rc::Rc;

use crate::error::Error;
use crate::protocols::Protocol;
use crate::protocols::forward::forward_conversation;
use crate::transports::{Observer, Transport};

/// Wraps `inner`, and attaches the observer that `observer` makes when the connection is made.
pub(super) struct Observed<O> {
    inner: Box<dyn Protocol>,
    observer: Option<O>,
}

impl<O: FnOnce(&Transport) -> Rc<dyn Observer> + 'static> Observed<O> {
    pub(super) fn wrap(inner: Box<dyn Protocol>, observer: O) -> Box<dyn Protocol> {
        Box::new(Observed { inner, observer: Some(observer) })
    }
}

impl<O: FnOnce(&Transport) -> Rc<dyn Observer>> Protocol for Observed<O> {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(observer) = self.observer.take() {
            transport.observe(observer(transport));
        }
        self.inner.connection_made(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
    }

    forward_conversation!();
}
