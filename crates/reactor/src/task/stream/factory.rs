//! The factory of streams, and the protocol that moves bytes between a connection and its stream.

use std::rc::Rc;

use ropewalk_proto::Address;

use super::AsyncStream;
use super::state::Shared;
use crate::error::Error;
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Producer, Transport};

/// A factory that passes each connection to async code.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::task::StreamFactory;
///
/// let reactor = Reactor::new()?;
/// reactor.listen_tcp("127.0.0.1:0", StreamFactory::new(|stream, reactor| {
///     reactor.spawn(async move { drop(stream) });
/// }))?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct StreamFactory<F>(Rc<F>);

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> StreamFactory<F> {
    /// Creates a factory that calls `serve` with each new connection.
    pub fn new(serve: F) -> StreamFactory<F> {
        StreamFactory(Rc::new(serve))
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> Factory for StreamFactory<F> {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(StreamProtocol::new(self.0.clone())))
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> ClientFactory for StreamFactory<F> {}

pub(super) struct StreamProtocol<F> {
    serve: Rc<F>,
    shared: Rc<Shared>,
}

impl<F> StreamProtocol<F> {
    pub(super) fn new(serve: Rc<F>) -> StreamProtocol<F> {
        StreamProtocol { serve, shared: Rc::default() }
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor)> Protocol for StreamProtocol<F> {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.register_producer(Producer::Push(self.shared.clone()));
        (self.serve)(AsyncStream::new(transport, &self.shared), &transport.reactor());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.shared.0.borrow_mut().receive(transport, data);
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        let mut state = self.shared.0.borrow_mut();
        state.read_ended = true;
        state.wake_reader();
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        let mut state = self.shared.0.borrow_mut();
        state.lost = Some(reason.clone());
        state.wake_reader();
        state.wake_writer();
    }
}
