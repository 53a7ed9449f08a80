//! A bound on how many connections a service has at once. Further ones wait in the system's queue.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::{Address, Bytes, Error, Factory, Port, Protocol, Transport};

/// How many connections there are, and who accepts more.
#[derive(Default)]
pub(crate) struct Seats {
    limit: usize,
    taken: Cell<usize>,
    ports: RefCell<Vec<Port>>,
    complained: Cell<bool>,
}

impl Seats {
    /// At most `limit` connections, and at least one.
    pub(crate) fn new(limit: usize) -> Rc<Seats> {
        Rc::new(Seats { limit: limit.max(1), ..Seats::default() })
    }

    /// Has `port` wait while all seats are taken.
    pub(crate) fn add_port(&self, port: Port) {
        self.ports.borrow_mut().push(port);
    }

    fn is_free(&self) -> bool {
        self.taken.get() < self.limit
    }

    fn take(self: &Rc<Seats>) -> Seat {
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() == self.limit {
            if !self.complained.replace(true) {
                tracing::warn!(limit = self.limit, "no more connections are accepted until some end");
            }
            self.ports.borrow().iter().for_each(Port::pause_producing);
        }
        Seat(self.clone())
    }
}

/// One connection's place.
struct Seat(Rc<Seats>);

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = &self.0;
        seats.taken.set(seats.taken.get() - 1);
        if seats.taken.get() + 1 == seats.limit {
            seats.ports.borrow().iter().for_each(Port::resume_producing);
        }
    }
}

/// A factory whose connections each take a seat.
pub(crate) struct SeatedFactory {
    pub(crate) factory: Rc<dyn Factory>,
    pub(crate) seats: Rc<Seats>,
}

impl Factory for SeatedFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        // Ports wait while there is no seat; other kinds of endpoints may still ask.
        if !self.seats.is_free() {
            return None;
        }
        let protocol = self.factory.build_protocol(peer)?;
        Some(Box::new(Seated { protocol, _seat: self.seats.take() }))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        if !self.seats.is_free() {
            return None;
        }
        Some(Box::new((self.factory.reserve()?, self.seats.take())))
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

struct Seated {
    protocol: Box<dyn Protocol>,
    _seat: Seat,
}

impl Protocol for Seated {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.protocol.data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.protocol.chunk_received(transport, chunk);
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
