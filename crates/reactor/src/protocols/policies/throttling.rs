//! Limits the bytes per second of all connections of a factory together.
//!
//! Each direction keeps the time `due` at which all bytes so far would have passed at the limited rate. When `due` is
//! more than one second ahead of now, all connections are held. They are released when `due` is only 0.9 seconds ahead.
//! So a burst worth one second is free, the average rate is the limit, and no timer runs while no connection is held.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Address, Key, Moment, Slab};

use super::begun::on_connection;
use crate::error::Error;
use crate::kernel::Reactor;
use crate::protocols::forward::{forward_client_factory, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Connector, Hold, Observer, Transport, WeakTransport};

/// The size of the burst after a silence, as its duration at the limited rate.
const BURST: Duration = Duration::from_secs(1);

/// The minimum number of bytes between two holds, as their duration at the limited rate. Each hold visits every
/// connection.
const SLICE: Duration = Duration::from_millis(100);

/// A factory that limits the bytes per second that the connections of another factory receive and send together.
///
/// While the receive limit is exceeded, every connection stops reading. While the send limit is exceeded, written data
/// is queued and producers are paused at the high-water mark. A single large write is still sent in one piece. A burst
/// worth one second is allowed after a silence.
///
/// By default neither direction is limited. All connections must belong to one reactor. To limit the number of
/// connections as well, wrap this factory in a [`LimitTotalConnectionsFactory`](super::LimitTotalConnectionsFactory).
///
/// ```
/// use std::time::Duration;
/// use ropewalk::protocols::policies::ThrottlingFactory;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// let slow = ThrottlingFactory::new(server.factory()).read_limit(10_000).write_limit(10_000);
/// net.listen_tcp("10.0.0.1:80", slow)?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(&[0; 1_000_000]);
/// net.advance(Duration::from_secs(10));
/// assert!(server.data().len() < 300_000); // 10 KB a second, a burst, and one read's worth
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct ThrottlingFactory<F> {
    factory: F,
    reading: Option<Rc<Rate>>,
    writing: Option<Rc<Rate>>,
}

impl<F: Factory> ThrottlingFactory<F> {
    /// Wraps `factory`, without a limit.
    pub fn new(factory: F) -> ThrottlingFactory<F> {
        ThrottlingFactory { factory, reading: None, writing: None }
    }

    /// Sets the maximum of bytes per second received, over all connections. 0 counts as 1.
    #[must_use]
    pub fn read_limit(mut self, bytes_per_second: u64) -> ThrottlingFactory<F> {
        self.reading = Some(Rate::new(Direction::Reading, bytes_per_second));
        self
    }

    /// Sets the maximum of bytes per second sent, over all connections. 0 counts as 1.
    #[must_use]
    pub fn write_limit(mut self, bytes_per_second: u64) -> ThrottlingFactory<F> {
        self.writing = Some(Rate::new(Direction::Writing, bytes_per_second));
        self
    }
}

impl<F: Factory> Factory for ThrottlingFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = self.factory.build_protocol(peer)?;
        let rates = [self.reading.clone(), self.writing.clone()];
        Some(on_connection(protocol, move |transport| {
            rates.into_iter().flatten().for_each(|rate| rate.join(transport));
        }))
    }

    forward_factory!();
}

forward_client_factory!(ThrottlingFactory);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Reading,
    Writing,
}

/// One direction of all connections together.
struct Rate {
    direction: Direction,
    bytes_per_second: u64,
    due: Cell<Moment>,
    held: Cell<bool>,
    members: RefCell<Slab<Weak<Member>>>,
}

/// One connection in a [`Rate`].
struct Member {
    rate: Rc<Rate>,
    transport: WeakTransport,
    key: Key,
    hold: RefCell<Option<Hold>>,
}

impl Rate {
    fn new(direction: Direction, bytes_per_second: u64) -> Rc<Rate> {
        let bytes_per_second = bytes_per_second.max(1);
        let members = RefCell::new(Slab::new());
        Rc::new(Rate { direction, bytes_per_second, due: Cell::default(), held: Cell::new(false), members })
    }

    fn join(self: Rc<Rate>, transport: &Transport) {
        let is_held = self.held.get();
        let member = Rc::new_cyclic(|member: &Weak<Member>| {
            let key = self.members.borrow_mut().insert(member.clone());
            Member { rate: self, transport: transport.downgrade(), key, hold: RefCell::default() }
        });
        if is_held {
            member.hold();
        }
        transport.observe(member);
    }

    fn count(self: &Rc<Rate>, reactor: &Reactor, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let worth = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = reactor.now();
        self.due.set(self.due.get().max(now) + worth);
        if self.due.get() - now > BURST && !self.held.replace(true) {
            self.each_member(Member::hold);
            self.release_when_due(reactor);
        }
    }

    fn release_when_due(self: &Rc<Rate>, reactor: &Reactor) {
        let free = BURST - SLICE;
        let ahead = self.due.get() - reactor.now();
        if ahead <= free {
            self.held.set(false);
            return self.each_member(Member::release);
        }
        let rate = Rc::downgrade(self);
        reactor.call_later(ahead - free, move |reactor| {
            if let Some(rate) = rate.upgrade() {
                rate.release_when_due(reactor);
            }
        });
    }

    fn each_member(&self, act: fn(&Member)) {
        let members: Vec<_> = self.members.borrow().iter().filter_map(|(_, member)| member.upgrade()).collect();
        members.iter().for_each(|member| act(member));
    }
}

impl Member {
    fn hold(&self) {
        let Some(transport) = self.transport.upgrade() else { return };
        *self.hold.borrow_mut() = Some(match self.rate.direction {
            Direction::Reading => transport.hold_reading(),
            Direction::Writing => transport.hold_writing(),
        });
    }

    fn release(&self) {
        self.hold.take();
    }

    fn count(&self, direction: Direction, bytes: usize) {
        if direction == self.rate.direction {
            if let Some(reactor) = self.transport.upgrade().and_then(|transport| transport.try_reactor()) {
                self.rate.count(&reactor, bytes);
            }
        }
    }
}

impl Observer for Member {
    fn bytes_received(&self, count: usize) {
        self.count(Direction::Reading, count);
    }

    fn bytes_written(&self, count: usize) {
        self.count(Direction::Writing, count);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.rate.members.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::FileSender;
    use crate::testing::{AccumulatingProtocol, MemoryReactor, TestStream};

    const SECOND: Duration = Duration::from_secs(1);
    /// Bytes per second.
    const LIMIT: u64 = 1_000_000;
    /// One receive buffer: the amount that may arrive before a hold takes effect.
    const CHUNK: usize = 64 * 1024;

    fn serve(net: &MemoryReactor, limit: fn(Throttled) -> Throttled) -> AccumulatingProtocol {
        let server = AccumulatingProtocol::new();
        let built = server.clone();
        let factory: Box<dyn Fn() -> AccumulatingProtocol> = Box::new(move || built.clone());
        net.listen_tcp("10.0.0.1:80", limit(ThrottlingFactory::new(factory))).unwrap();
        server
    }

    type Throttled = ThrottlingFactory<Box<dyn Fn() -> AccumulatingProtocol>>;

    fn connect(net: &MemoryReactor) -> TestStream {
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        client
    }

    /// Checks after each second that the number of bytes is at least the limit, and exceeds the limit by at most a
    /// burst of one second.
    fn assert_rate(net: &MemoryReactor, seconds: usize, bytes: impl Fn() -> usize) {
        for second in 1..=seconds {
            net.advance(SECOND);
            let (least, most) = (second * LIMIT as usize, (second + 1) * LIMIT as usize + CHUNK);
            assert!((least..=most).contains(&bytes()), "{} bytes after {second} s", bytes());
        }
    }

    #[test]
    fn receiving_keeps_to_the_limit_over_all_connections() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(LIMIT));
        let clients = [connect(&net), connect(&net)];
        clients.iter().for_each(|client| client.write(&[1; 5_000_000]));
        assert_rate(&net, 8, || server.data().len());
        net.advance(SECOND * 2);
        assert_eq!(server.data().len(), 10_000_000);
        net.advance(SECOND * 2);
        assert!(net.get_delayed_calls().is_empty(), "no timer runs while nothing is held");
    }

    #[test]
    fn sending_keeps_to_the_limit_by_pausing_producers() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.write_limit(LIMIT));
        let client = connect(&net);
        let transport = server.transport().unwrap();
        let file = std::io::Cursor::new(vec![7; 5_000_000]);
        let done = FileSender::begin(file, &transport).unwrap();
        assert_rate(&net, 3, || client.received().len());
        assert!(!done.is_done() && transport.buffered() <= CHUNK);
        net.advance(SECOND * 3);
        assert!(client.received() == vec![7; 5_000_000]);
        assert_eq!(done.try_result().unwrap().unwrap(), 5_000_000);
    }

    #[test]
    fn a_large_write_waits_until_the_rate_allows_it() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.write_limit(LIMIT));
        let client = connect(&net);
        let transport = server.transport().unwrap();
        transport.write(&[1; 3_000_000]);
        net.advance(SECOND);
        assert_eq!(client.received().len(), 0);
        transport.lose_connection();
        net.advance(SECOND * 2);
        assert!(client.received() == vec![1; 3_000_000]);
        assert!(client.is_eof());
    }

    #[test]
    fn a_limit_in_one_direction_does_not_affect_the_other() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(LIMIT));
        let client = connect(&net);
        server.transport().unwrap().write(&[2; 3_000_000]);
        net.settle();
        assert_eq!(client.received().len(), 3_000_000);
        client.write(&[1; LIMIT as usize]);
        net.settle();
        assert_eq!(server.data().len(), LIMIT as usize, "sending does not count against the receive limit");
    }

    #[test]
    fn a_long_silence_allows_no_more_than_one_burst() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(LIMIT));
        let client = connect(&net);
        client.write(b"hello");
        net.advance(SECOND * 3600);
        client.write(&[1; 5_000_000]);
        assert_rate(&net, 3, || server.data().len());
    }

    #[test]
    fn connections_are_held_at_most_ten_times_a_second() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(20 * LIMIT));
        connect(&net).write(&[1; 60_000_000]);
        net.advance(SECOND);
        server.take_data();
        let mut moments = 0;
        for _ in 0..1000 {
            net.advance(Duration::from_millis(1));
            moments += usize::from(!server.take_data().is_empty());
        }
        assert!((5..=11).contains(&moments), "data arrived at {moments} moments of a second");
    }

    #[test]
    fn a_pause_by_the_user_outlasts_the_hold() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(LIMIT));
        let client = connect(&net);
        client.write(&[1; 3_000_000]);
        net.settle();
        let held_at = server.data().len();
        server.transport().unwrap().pause_producing();
        net.advance(SECOND * 10);
        assert_eq!(server.data().len(), held_at);
        server.transport().unwrap().resume_producing();
        net.advance(SECOND * 10);
        assert_eq!(server.data().len(), 3_000_000);
    }

    #[test]
    fn a_new_connection_is_held_with_the_others() {
        let net = MemoryReactor::new();
        let server = serve(&net, |factory| factory.read_limit(LIMIT));
        let first = connect(&net);
        first.write(&[1; 3_000_000]);
        net.settle();
        let held_at = server.data().len();
        let second = connect(&net);
        second.write(b"late");
        net.settle();
        assert_eq!(server.data().len(), held_at);
        first.abort();
        net.advance(SECOND);
        let (first, second): (Vec<u8>, Vec<u8>) = server.data()[held_at..].iter().partition(|byte| **byte == 1);
        assert_eq!(second, b"late");
        assert!(first.len() <= CHUNK, "{} bytes of the first connection", first.len());
    }

    #[test]
    fn the_lower_of_two_nested_limits_applies() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let tight = ThrottlingFactory::new(server.factory()).read_limit(LIMIT);
        net.listen_tcp("10.0.0.1:80", ThrottlingFactory::new(tight).read_limit(LIMIT * 5 / 4)).unwrap();
        connect(&net).write(&[1; 10_000_000]);
        assert_rate(&net, 8, || server.data().len());
    }
}
