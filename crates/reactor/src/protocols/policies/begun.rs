//! A protocol with a function that runs right before its connection is made.

use crate::error::Error;
use crate::protocols::Protocol;
use crate::protocols::forward::forward_conversation;
use crate::transports::Transport;

/// Returns a protocol that calls `begin` right before `connection_made` of `protocol`. Policies use this function to
/// attach observers to the transport, or to give the transport objects to keep.
///
/// If the connection is never made, `begin` is dropped with the protocol.
///
/// `begin` is a callback of the connection, like `connection_made`: it may use any method of the transport.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::policies::on_connection;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// /// Greets before the wrapped protocol does.
/// struct Polite<F>(F);
///
/// impl<F: Factory> Factory for Polite<F> {
///     fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
///         let protocol = self.0.build_protocol(peer)?;
///         Some(on_connection(protocol, |transport| transport.write(b"welcome\n")))
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", Polite(AccumulatingProtocol::new))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// net.settle();
/// assert_eq!(client.received(), b"welcome\n");
/// # Ok::<(), Error>(())
/// ```
pub fn on_connection(protocol: Box<dyn Protocol>, begin: impl FnOnce(&Transport) + 'static) -> Box<dyn Protocol> {
    Box::new(Begun { inner: protocol, begin: Some(begin) })
}

struct Begun<B> {
    inner: Box<dyn Protocol>,
    begin: Option<B>,
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
