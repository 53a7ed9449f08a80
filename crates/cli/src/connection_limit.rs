//! A limit on the number of open connections of a service. Further connections wait in the system's accept queue.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::protocols::{BufferedProtocol, FileDescriptorReceiver};
use ropewalk::{Address, Bytes, Error, Factory, Port, Protocol, Transport};

/// Counts the connections of some ports, and pauses the ports while the limit is reached.
#[derive(Default)]
pub(crate) struct ConnectionLimit {
    limit: usize,
    open: Cell<usize>,
    ports: RefCell<Vec<Port>>,
    has_warned: Cell<bool>,
}

impl ConnectionLimit {
    /// Allows at most `limit` connections, and at least one.
    pub(crate) fn new(limit: usize) -> Rc<ConnectionLimit> {
        Rc::new(ConnectionLimit { limit: limit.max(1), ..ConnectionLimit::default() })
    }

    /// Pauses `port` whenever the limit is reached.
    pub(crate) fn add_port(&self, port: Port) {
        self.ports.borrow_mut().push(port);
    }

    fn is_reached(&self) -> bool {
        self.open.get() >= self.limit
    }

    fn acquire(self: &Rc<ConnectionLimit>) -> Permit {
        self.open.set(self.open.get() + 1);
        if self.open.get() == self.limit {
            if !self.has_warned.replace(true) {
                tracing::warn!(limit = self.limit, "connection limit reached: new connections wait until one closes");
            }
            self.ports.borrow().iter().for_each(Port::pause_producing);
        }
        Permit(self.clone())
    }
}

/// Counts one connection until it is dropped.
struct Permit(Rc<ConnectionLimit>);

impl Drop for Permit {
    fn drop(&mut self) {
        let limit = &self.0;
        limit.open.set(limit.open.get() - 1);
        if limit.open.get() + 1 == limit.limit {
            limit.ports.borrow().iter().for_each(Port::resume_producing);
        }
    }
}

/// A factory whose connections count against a limit.
pub(crate) struct LimitedFactory {
    pub(crate) factory: Rc<dyn Factory>,
    pub(crate) limit: Rc<ConnectionLimit>,
}

impl Factory for LimitedFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        // A paused port does not ask, but other kinds of endpoints do.
        if self.limit.is_reached() {
            return None;
        }
        let protocol = self.factory.build_protocol(peer)?;
        Some(Box::new(Limited { protocol, _permit: self.limit.acquire() }))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        if self.limit.is_reached() {
            return None;
        }
        Some(Box::new((self.factory.reserve()?, self.limit.acquire())))
    }

    fn is_paced(&self) -> bool {
        self.factory.is_paced()
    }

    fn start_factory(&self) {
        self.factory.start_factory();
    }

    fn stop_factory(&self) {
        self.factory.stop_factory();
    }

    fn accept_failed(&self, reason: &Error) {
        self.factory.accept_failed(reason);
    }
}

/// A protocol that holds a permit.
struct Limited {
    protocol: Box<dyn Protocol>,
    _permit: Permit,
}

impl Protocol for Limited {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.protocol.data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.protocol.chunk_received(transport, chunk);
    }

    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        self.protocol.buffered()
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        self.protocol.file_descriptor_receiver()
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.protocol.layer_opened(transport);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.protocol.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.protocol.write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.protocol.connection_lost(transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.protocol.log_prefix()
    }
}
