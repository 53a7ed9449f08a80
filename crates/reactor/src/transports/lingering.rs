//! What becomes of a connection's socket after its end: it lingers until the peer has ended its side, too.
//!
//! ```text
//!   everything sent -> connection_lost -> FIN sent, bytes discarded -> the peer's end, or a bound -> closed
//! ```
//!
//! A system answers bytes that nobody can read any more with a reset, and that destroys what the peer has not read or not
//! received of the last response: RFC 1122, section 4.2.2.13; RFC 9112, section 9.6. The protocol has nothing to do with it
//! any more. Only those connections linger that are closed in order while the peer may still send.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Key, Moment, Resolver, succeed};
use ropewalk_sys::{Ready, Received, Streams};

use super::share::{BYTES_PER_TURN, READS_PER_TURN};
use crate::interfaces::order;
use crate::interfaces::time::DelayedCall;
use crate::kernel::{Feature, Hooks, Kernel, Order, Reactor, Source};

/// The fraction of [`Linger::time`] after which a silent peer is given up: most peers that say nothing more are gone.
const SILENCE: u32 = 6;

/// The number of bytes that are discarded before a peer that keeps sending is cut off.
const DISCARDED_MAX: usize = 16 * 1024 * 1024;

/// The bounds of connections that have ended and wait until their peers have ended, too.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::transports::Linger;
/// use std::time::Duration;
///
/// let reactor = Reactor::new()?;
/// reactor.set_linger(Linger::default().time(Duration::from_secs(10)).connections(100));
/// reactor.set_linger(Linger::never());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Linger {
    time: Duration,
    connections: usize,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger { time: Duration::from_secs(30), connections: 1024 }
    }
}

impl Linger {
    /// Closes every connection at once. The peer may see a reset instead of the last bytes.
    pub fn never() -> Linger {
        Linger::default().connections(0)
    }

    /// Sets the longest time that a connection lingers. The default is 30 seconds.
    ///
    /// A peer that is silent for a sixth of this time is cut off, as is a peer that has sent 16 MiB.
    pub fn time(mut self, longest: Duration) -> Linger {
        self.time = longest;
        self
    }

    /// Sets the number of connections that may linger at a time. The default is 1024.
    ///
    /// One more closes the connection that has the least time left.
    pub fn connections(mut self, most: usize) -> Linger {
        self.connections = most;
        self
    }
}

impl Reactor {
    /// Sets how connections linger that end from here on. May be called at any time.
    pub fn set_linger(&self, linger: Linger) {
        self.feature::<Lingering>().bounds.set(linger);
    }

    /// How many connections linger: they have ended for their protocols, and have a descriptor until their peers end, too.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    /// use std::time::Duration;
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").lose_connection();
    /// net.settle();
    /// assert!(server.lost().is_some() && client.is_eof());
    /// assert_eq!(net.lingering_count(), 1);
    /// net.advance(Duration::from_secs(5)); // the client says nothing
    /// assert_eq!(net.lingering_count(), 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn lingering_count(&self) -> usize {
        self.feature::<Lingering>().by_key.borrow().len()
    }

    /// Fires when no connection lingers: at once if none does, otherwise in the turn after the last one has ended. The end of
    /// a run cuts off those that are left, and then it fires, too: who wants his last words heard waits for this and stops the
    /// reactor afterwards.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").lose_connection();
    /// net.settle();
    /// let arrived = net.when_none_linger();
    /// assert!(!arrived.is_done());
    /// client.close(); // it has read everything
    /// net.settle();
    /// assert!(arrived.is_done());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn when_none_linger(&self) -> Deferred<()> {
        if self.lingering_count() == 0 {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.feature::<Lingering>().waiters.borrow_mut().push(resolver);
        deferred
    }
}

/// The connections that linger, and until when.
#[derive(Default)]
struct Lingering {
    bounds: Cell<Linger>,
    by_key: RefCell<BTreeMap<Key, Rc<Lingerer>>>,
    by_deadline: RefCell<BTreeSet<(Moment, Key)>>,
    /// Ends whoever is due, and tells the waiters; there only while there is somebody to end or to tell.
    timer: RefCell<Option<DelayedCall>>,
    /// Who wants to know that nobody lingers.
    waiters: RefCell<Vec<Resolver<()>>>,
}

impl Feature for Lingering {
    fn new(_reactor: &Reactor) -> Lingering {
        Lingering::default()
    }

    fn hooks(self: &Rc<Lingering>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::LINGERING, self.clone()))
    }
}

impl Hooks for Lingering {
    /// Closes the connections that linger still.
    fn run_ended(&self, reactor: &Reactor) {
        // No later turn may come to notify them.
        let waiters = self.waiters.take();
        while self.end_first(reactor) {}
        self.watch(reactor);
        tell(waiters);
    }
}

/// A connection that has ended.
struct Lingerer {
    key: Key,
    /// When it is closed at the latest.
    last: Moment,
    /// When it is closed if nothing arrives.
    deadline: Cell<Moment>,
    silence: Duration,
    /// How many bytes may still be discarded.
    left: Cell<usize>,
}

/// Lets the connection `key`, which has no source any more, linger.
pub(super) fn linger(reactor: &Reactor, key: Key) {
    let kernel = &reactor.0;
    match kernel.streams(|streams| half_close(streams, key)) {
        Ok(Ok(())) => {}
        // The peer is gone already.
        Ok(Err(_)) => return close(kernel, key),
        Err(_away) => kernel.tell_streams(move |streams| drop(half_close(streams, key))),
    }
    reactor.feature::<Lingering>().add(reactor, key);
}

/// Whether a connection that ends in order now lingers at all.
pub(super) fn may_linger(reactor: &Reactor) -> bool {
    reactor.feature::<Lingering>().bounds.get().connections > 0
}

/// Closes the lingering connection that has the least time left, for its descriptor. Returns whether there was one.
pub(super) fn end_a_lingerer(reactor: &Reactor) -> bool {
    reactor.feature::<Lingering>().end_first(reactor)
}

impl Lingering {
    fn add(&self, reactor: &Reactor, key: Key) {
        let bounds = self.bounds.get();
        while self.by_key.borrow().len() >= bounds.connections && self.end_first(reactor) {}
        let now = reactor.now();
        let last = now + bounds.time;
        let deadline = Cell::new(last.min(now + bounds.time / SILENCE));
        let left = Cell::new(DISCARDED_MAX);
        let lingerer = Rc::new(Lingerer { key, last, deadline, silence: bounds.time / SILENCE, left });
        reactor.0.add_source(key, lingerer.clone());
        self.by_deadline.borrow_mut().insert((lingerer.deadline.get(), key));
        self.by_key.borrow_mut().insert(key, lingerer);
        self.watch(reactor);
    }

    fn first(&self) -> Option<Rc<Lingerer>> {
        let (_, key) = *self.by_deadline.borrow().first()?;
        self.by_key.borrow().get(&key).cloned()
    }

    fn end_first(&self, reactor: &Reactor) -> bool {
        self.first().inspect(|lingerer| self.end(reactor, lingerer)).is_some()
    }

    /// Closes the connection, whatever the peer does.
    fn end(&self, reactor: &Reactor, lingerer: &Lingerer) {
        self.by_deadline.borrow_mut().remove(&(lingerer.deadline.get(), lingerer.key));
        self.by_key.borrow_mut().remove(&lingerer.key);
        drop(reactor.0.remove_source(lingerer.key));
        close(&reactor.0, lingerer.key);
        self.watch(reactor);
    }

    /// The peer has sent something: it gets more time.
    fn prolong(&self, reactor: &Reactor, lingerer: &Lingerer) {
        let mut by_deadline = self.by_deadline.borrow_mut();
        by_deadline.remove(&(lingerer.deadline.get(), lingerer.key));
        lingerer.deadline.set(lingerer.last.min(reactor.now() + lingerer.silence));
        by_deadline.insert((lingerer.deadline.get(), lingerer.key));
    }

    fn end_due(&self, reactor: &Reactor) {
        self.timer.take();
        if self.by_key.borrow().is_empty() {
            return tell(self.waiters.take());
        }
        let now = reactor.now();
        while let Some(lingerer) = self.first().filter(|lingerer| lingerer.deadline.get() <= now) {
            self.end(reactor, &lingerer);
        }
        self.watch(reactor);
    }

    /// Keeps the timer running while a connection lingers. It may be early, and then waits for the next one. Once none
    /// lingers it notifies the waiters, and not before it runs: a connection or a port may be in the middle of something.
    fn watch(&self, reactor: &Reactor) {
        let first = match self.first() {
            Some(lingerer) => Some(lingerer.deadline.get()),
            None => (!self.waiters.borrow().is_empty()).then(|| reactor.now()),
        };
        let due = self.timer.borrow().as_ref().and_then(DelayedCall::get_time);
        if first.zip(due).is_some_and(|(first, due)| due <= first) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            let _ = timer.cancel();
        }
        let timer = first.map(|first| {
            let delay = first.since(reactor.now());
            reactor.call_later_internally(delay, |reactor| reactor.feature::<Lingering>().end_due(reactor))
        });
        self.timer.replace(timer);
    }
}

impl Source for Lingerer {
    fn ready(self: Rc<Lingerer>, reactor: &Reactor, _key: Key, _ready: Ready, scratch: &mut [u8]) {
        let lingering = reactor.feature::<Lingering>();
        match self.discard(&reactor.0, scratch) {
            Some(0) => {}
            Some(_) => lingering.prolong(reactor, &self),
            None => lingering.end(reactor, &self),
        }
    }

    /// All lingering connections are closed after the sources that have users.
    fn shut_down(self: Rc<Lingerer>, _reactor: &Reactor) {}
}

impl Lingerer {
    /// Discards the bytes that have arrived, up to the connection's share of the turn. Returns their number, or `None` at
    /// the end.
    fn discard(&self, kernel: &Kernel, scratch: &mut [u8]) -> Option<usize> {
        let mut bytes = 0;
        for _ in 0..READS_PER_TURN {
            let (count, drained) = match kernel.receive(self.key, scratch) {
                Ok(Received::Drained(count)) => (count, true),
                Ok(Received::Filled(count)) => (count, false),
                Ok(Received::Lent(chunk)) => (chunk.len(), false),
                Ok(Received::Empty) => break,
                Ok(Received::Eof) | Err(_) => return None,
            };
            bytes += count;
            if drained || bytes >= BYTES_PER_TURN {
                break;
            }
        }
        self.left.set(self.left.get().checked_sub(bytes)?);
        Some(bytes)
    }
}

fn tell(waiters: Vec<Resolver<()>>) {
    for resolver in waiters {
        let _ = resolver.callback(());
    }
}

fn half_close(streams: &mut dyn Streams, key: Key) -> io::Result<()> {
    streams.shutdown_write(key)?;
    streams.set_reading(key, true)
}

fn close(kernel: &Rc<Kernel>, key: Key) {
    kernel.tell_streams(move |streams| streams.close(key));
    kernel.descriptor_closed();
}
