//! A connection attempt as a Deferred: _WrappingFactory and _WrappingProtocol.
//!
//! ```text
//!                  attempt fails, cancelled --> failure
//!   connect -----> no protocol -------------> failure (NoProtocol)
//!                  connection_made returned --> the transport
//!                  connection_made panicked --> failure
//! ```

use std::cell::Cell;
use std::rc::Rc;

use ropewalk_proto::{Address, Deferred, Resolver};

use crate::error::{Error, Result};
use crate::protocols::forward::{forward_conversation, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Connector, Transport};

/// Who waits for the connection; taken by who tells them.
type Waiting = Rc<Cell<Option<Resolver<Transport>>>>;

/// Begins an attempt by `connect`, and returns its outcome.
pub(super) fn connecting(
    factory: Rc<dyn Factory>,
    connect: impl FnOnce(Attempt) -> Result<Connector>,
) -> Deferred<Transport> {
    let (deferred, resolver) = Deferred::new();
    let waiting: Waiting = Rc::new(Cell::new(Some(resolver.clone())));
    match connect(Attempt { factory, waiting }) {
        Ok(connector) => {
            // Held by the attempt alone: when its reactor is dropped, nobody is left to fire, and the Deferred fails.
            let (destination, attempt) = (connector.destination(), connector.downgrade());
            resolver.set_canceller(move |resolver| {
                let _ = resolver.errback(Error::ConnectingCancelled(destination.into()));
                // The factory's answer to this finds the Deferred fired.
                if let Some(attempt) = attempt.upgrade() {
                    attempt.disconnect();
                }
            });
        }
        Err(error) => drop(resolver.errback(error)),
    }
    deferred
}

fn tell(waiting: &Waiting, outcome: Result<&Transport>) {
    if let Some(resolver) = waiting.take() {
        // It may have been cancelled.
        let _ = resolver.fire(outcome.cloned().map_err(Into::into));
    }
}

/// Builds the protocol of one attempt, and tells how it went.
pub(super) struct Attempt {
    factory: Rc<dyn Factory>,
    waiting: Waiting,
}

impl Factory for Attempt {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        match self.factory.build_protocol(peer) {
            Some(inner) => Some(Box::new(Attempted { inner, waiting: self.waiting.clone() })),
            None => {
                tell(&self.waiting, Err(Error::NoProtocol));
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
        tell(&self.waiting, Err(reason.clone()));
    }

    fn client_connection_lost(&self, _connector: &Connector, reason: &Error) {
        // The factory panicked instead of building.
        tell(&self.waiting, Err(reason.clone()));
    }
}

/// A protocol whose connection somebody waits for.
struct Attempted {
    inner: Box<dyn Protocol>,
    waiting: Waiting,
}

impl Protocol for Attempted {
    fn connection_made(&mut self, transport: &Transport) {
        self.inner.connection_made(transport);
        tell(&self.waiting, Ok(transport));
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
        // It panicked when the connection was made.
        tell(&self.waiting, Err(reason.clone()));
    }

    forward_conversation!();
}

/// A factory that builds one protocol, once.
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
