//! A protocol that acts on its transport right before the connection is made.

use crate::error::Error;
use crate::protocols::Protocol;
use crate::protocols::forward::forward_conversation;
use crate::transports::Transport;

/// Wraps `inner`, and calls `begin` right before the connection is made.
pub(super) struct Begun<B> {
    inner: Box<dyn Protocol>,
    begin: Option<B>,
}

impl<B: FnOnce(&Transport) + 'static> Begun<B> {
    pub(super) fn wrap(inner: Box<dyn Protocol>, begin: B) -> Box<dyn Protocol> {
        Box::new(Begun { inner, begin: Some(begin) })
    }
}

impl<B: FnOnce(&Transport)> Protocol for Begun<B> {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(begin) = self.begin.take() {
            begin(transport);
        }
        self.inner.connection_made(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
    }

    forward_conversation!();
}
