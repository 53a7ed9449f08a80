//! A policy that limits the bytes that each connection of a factory may receive in a period.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::protocols::policies::on_connection;
use ropewalk::transports::{Hold, Observer, WeakTransport};
use ropewalk::{Address, Error, Factory, Protocol, Transport};

/// Limits the connections of another factory. A connection that has received its quota is not read until the period is
/// over.
pub struct QuotaFactory<F> {
    factory: F,
    bytes: usize,
    period: Duration,
}

impl<F: Factory> QuotaFactory<F> {
    /// Wraps `factory`, and allows each connection `bytes` in each `period`.
    pub fn new(factory: F, bytes: usize, period: Duration) -> QuotaFactory<F> {
        QuotaFactory { factory, bytes, period }
    }
}

impl<F: Factory> Factory for QuotaFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = self.factory.build_protocol(peer)?;
        let (bytes, period) = (self.bytes, self.period);
        Some(on_connection(protocol, move |transport| {
            transport.observe(Meter::new(transport, bytes, period));
        }))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        self.factory.reserve()
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

/// Counts the bytes of one connection in the present period, and holds the connection at its quota.
struct Meter {
    transport: WeakTransport,
    bytes: usize,
    period: Duration,
    received: Cell<usize>,
    hold: RefCell<Option<Hold>>,
    itself: Weak<Meter>,
}

impl Meter {
    fn new(transport: &Transport, bytes: usize, period: Duration) -> Rc<Meter> {
        let transport = transport.downgrade();
        Rc::new_cyclic(|itself| Meter {
            transport,
            bytes,
            period,
            received: Cell::default(),
            hold: RefCell::default(),
            itself: itself.clone(),
        })
    }

    /// Starts a period with the first byte. No timer runs for an idle connection.
    fn begin_period(&self) {
        let Some(reactor) = self.transport.upgrade().and_then(|transport| transport.try_reactor()) else { return };
        let meter = self.itself.clone();
        reactor.call_later(self.period, move |_| {
            if let Some(meter) = meter.upgrade() {
                meter.received.set(0);
                drop(meter.hold.take());
            }
        });
    }
}

impl Observer for Meter {
    fn bytes_received(&self, count: usize) {
        if self.received.get() == 0 {
            self.begin_period();
        }
        self.received.set(self.received.get() + count);
        if self.received.get() >= self.bytes && self.hold.borrow().is_none() {
            *self.hold.borrow_mut() = self.transport.upgrade().map(|transport| transport.hold_reading());
        }
    }
}

#[cfg(test)]
mod tests {
    use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    /// The maximum number of bytes that one read delivers.
    const CHUNK: usize = 128 * 1024;

    #[test]
    fn a_connection_waits_for_the_next_period_at_its_quota() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", QuotaFactory::new(server.factory(), 1_000_000, MINUTE)).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[7; 5_000_000]);
        net.settle();
        for minute in 1..5 {
            let least = minute * 1_000_000;
            assert!(
                (least..=least + minute * CHUNK).contains(&server.data().len()),
                "{minute}: {}",
                server.data().len()
            );
            net.advance(MINUTE);
        }
        net.advance(MINUTE);
        assert_eq!(server.data().len(), 5_000_000);
        net.advance(MINUTE);
        assert!(net.get_delayed_calls().is_empty(), "no timer runs for an idle connection");
    }

    #[test]
    fn connections_have_separate_quotas() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", QuotaFactory::new(server.factory(), 1, MINUTE)).unwrap();
        let clients = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        for client in &clients {
            client.write(b"a");
            net.settle();
            client.write(b"b");
        }
        net.settle();
        assert_eq!(server.data(), b"aa");
        net.advance(MINUTE);
        assert_eq!(server.data(), b"aabb");
    }
}
