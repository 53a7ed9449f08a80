//! A protocol whose connection is observed from its beginning.

use std::rc::Rc;

use bytes::Bytes;

use crate::error::Error;
use crate::protocols::Protocol;
use crate::transports::{Observer, Transport};

/// Wraps `inner`; when the connection is made, `observer` makes what observes it.
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

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.inner.data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.inner.chunk_received(transport, chunk);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.inner.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.inner.write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.inner.log_prefix()
    }
}
