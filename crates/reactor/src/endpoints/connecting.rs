//! A connection attempt as a Deferred.
//!
//! ```text
//!                  attempt failed or cancelled --> failure
//!   connect -----> no protocol ------------------> failure (NoProtocol)
//!                  connection_made returned -----> the transport
//!                  connection_made panicked -----> failure
//! ```
//!
//! Source: `_WrappingFactory` and `_WrappingProtocol` of `twisted.internet.endpoints`.

use std::cell::Cell;
use std::rc::Rc;

use ropewalk_proto::{Address, Deferred, Resolver};

use crate::error::{Error, Result};
use crate::protocols::forward::{forward_conversation, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Connector, Transport};

/// The resolver of the attempt, until the resolver is fired.
type Waiting = Rc<Cell<Option<Resolver<Transport>>>>;

/// Starts an attempt with `connect`, and returns its outcome.
pub(super) fn connecting(
    factory: Rc<dyn Factory>,
    connect: impl FnOnce(Attempt) -> Result<Connector>,
) -> Deferred<Transport> {
    let (deferred, resolver) = Deferred::new();
    let waiting: Waiting = Rc::new(Cell::new(Some(resolver.clone())));
    match connect(Attempt { factory, waiting }) {
        Ok(connector) => {
            // Only the attempt keeps the connector. If the reactor is dropped, the attempt drops the resolver, and the
            // Deferred fails.
            let (destination, attempt) = (connector.destination(), connector.downgrade());
            resolver.set_canceller(move |resolver| {
                let _ = resolver.errback(Error::ConnectingCancelled(destination.into()));
                // The Deferred has fired, so the failure reported to the factory is ignored.
                if let Some(attempt) = attempt.upgrade() {
                    attempt.disconnect();
                }
            });
        }
        Err(error) => drop(resolver.errback(error)),
    }
    deferred
}

/// Connects with `connect`, which returns when `connection_made` has returned, and returns the outcome.
pub(super) fn connected_at_once(
    factory: Rc<dyn Factory>,
    connect: impl FnOnce(&Attempt) -> Result<()>,
) -> Deferred<Transport> {
    let (deferred, resolver) = Deferred::new();
    let waiting: Waiting = Rc::new(Cell::new(Some(resolver)));
    if let Err(error) = connect(&Attempt { factory, waiting: waiting.clone() }) {
        fire(&waiting, Err(error));
    }
    deferred
}

fn fire(waiting: &Waiting, outcome: Result<&Transport>) {
    if let Some(resolver) = waiting.take() {
        // Firing fails if the Deferred was cancelled.
        let _ = resolver.fire(outcome.cloned().map_err(Into::into));
    }
}

/// A factory that builds the protocol of one attempt, and fires the resolver.
pub(super) struct Attempt {
    factory: Rc<dyn Factory>,
    waiting: Waiting,
}

impl Factory for Attempt {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        match self.factory.build_protocol(peer) {
            Some(inner) => Some(Box::new(Attempted { inner, waiting: self.waiting.clone() })),
            None => {
                fire(&self.waiting, Err(Error::NoProtocol));
                None
            }
        }
    }

    forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

impl ClientFactory for Attempt {
    fn client_connection_failed(&self, _connector: &Connector, reason: &Error) {
        fire(&self.waiting, Err(reason.clone()));
    }

    fn client_connection_lost(&self, _connector: &Connector, reason: &Error) {
        // The resolver is still there if the factory panicked instead of building a protocol.
        fire(&self.waiting, Err(reason.clone()));
    }
}

/// A protocol that fires the resolver when its connection is made.
struct Attempted {
    inner: Box<dyn Protocol>,
    waiting: Waiting,
}

impl Protocol for Attempted {
    fn connection_made(&mut self, transport: &Transport) {
        self.inner.connection_made(transport);
        fire(&self.waiting, Ok(transport));
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
        // The resolver is still there if `connection_made` panicked.
        fire(&self.waiting, Err(reason.clone()));
    }

    forward_conversation!();
}

/// A factory that returns its only protocol from the first call.
pub(super) struct OneProtocol(Cell<Option<Box<dyn Protocol>>>);

impl OneProtocol {
    pub(super) fn new(protocol: Box<dyn Protocol>) -> OneProtocol {
        OneProtocol(Cell::new(Some(protocol)))
    }
}

impl Factory for OneProtocol {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.take()
    }
}
