//! Keeps the socket of a closed connection open (lingers) until the peer has closed its side as well.
//!
//! ```text
//!   everything sent -> connection_lost -> FIN sent, bytes discarded -> the peer's end, or a bound -> closed
//! ```
//!
//! A system answers bytes for a closed socket with a reset. That reset destroys the part of the last response that the
//! peer has not received or read yet: RFC 1122, section 4.2.2.13; RFC 9112, section 9.6. The protocol takes no part in
//! this. A connection lingers only if it was closed without a reset, and only while the peer may still send.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Key, Moment, Resolver, succeed};
use ropewalk_sys::{Ready, Received, Streams};

use super::flags::Flags;
use super::share::{BYTES_PER_TURN, READS_PER_TURN};
use crate::error::Error;
use crate::interfaces::order;
use crate::interfaces::time::DelayedCall;
use crate::kernel::{Feature, Hooks, Kernel, Order, Reactor, Source};

/// The fraction of [`Linger::time`] after which a silent peer is cut off, because most silent peers are gone.
const SILENCE: u32 = 6;

/// The number of bytes after which a peer that keeps sending is cut off.
const DISCARDED_MAX: usize = 16 * 1024 * 1024;

/// The limits of lingering: the time for which a closed connection waits until its peer has closed as well, and the
/// number of such connections.
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
    is_default: bool,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger { time: Duration::from_secs(30), connections: 1024, is_default: true }
    }
}

impl Linger {
    /// Closes every connection at once. The peer may see a reset instead of the last bytes.
    pub fn never() -> Linger {
        Linger::default().connections(0)
    }

    /// Sets whether connections linger for which neither [`Transport::set_lingering`](super::Transport::set_lingering)
    /// nor [`Port::set_lingering`](super::Port::set_lingering) says something else. The default is `true`.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    /// use ropewalk::transports::Linger;
    ///
    /// let net = MemoryReactor::new();
    /// net.set_linger(Linger::default().by_default(false));
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").lose_connection();
    /// net.settle();
    /// assert_eq!(net.lingering_count(), 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn by_default(mut self, on: bool) -> Linger {
        self.is_default = on;
        self
    }

    /// Sets the longest time that a connection lingers. The default is 30 seconds.
    ///
    /// A peer that is silent for a sixth of this time is cut off, as is a peer that has sent 16 MiB.
    pub fn time(mut self, longest: Duration) -> Linger {
        self.time = longest;
        self
    }

    /// Sets the number of connections that may linger at the same time. The default is 1024.
    ///
    /// When one more connection would linger, the connection that has the least time left is closed.
    pub fn connections(mut self, most: usize) -> Linger {
        self.connections = most;
        self
    }
}

impl Reactor {
    /// Sets the limits for connections that are closed from now on. May be called at any time.
    pub fn set_linger(&self, linger: Linger) {
        self.feature::<Lingering>().bounds.set(linger);
    }

    /// Returns the number of lingering connections. `connection_lost` of their protocols has been called, but each
    /// connection still uses a descriptor.
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
    /// net.advance(Duration::from_secs(5)); // the client stays silent
    /// assert_eq!(net.lingering_count(), 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn lingering_count(&self) -> usize {
        self.feature::<Lingering>().by_key.borrow().len()
    }

    /// Returns a Deferred that fires when no connection lingers: at once, or in the turn after the last one was closed.
    ///
    /// The end of a run closes the lingering connections and then fires the Deferred. To deliver the last bytes safely,
    /// wait for this Deferred before you stop the reactor.
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

/// The lingering connections, by key and by deadline.
#[derive(Default)]
struct Lingering {
    bounds: Cell<Linger>,
    by_key: RefCell<BTreeMap<Key, Rc<Lingerer>>>,
    by_deadline: RefCell<BTreeSet<(Moment, Key)>>,
    /// The timer that closes the connections that are due, and notifies the waiters. The timer is active only while
    /// lingering connections or waiters exist.
    timer: RefCell<Option<DelayedCall>>,
    /// The Deferreds of `when_none_linger`.
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
    /// Closes the connections that still linger.
    fn run_ended(&self, reactor: &Reactor) {
        // The waiters are notified here, because no later turn may come.
        let waiters = self.waiters.take();
        while self.end_first(reactor) {}
        self.watch(reactor);
        notify(waiters);
    }
}

/// A connection that lingers.
struct Lingerer {
    key: Key,
    /// The latest time at which the connection is closed.
    last: Moment,
    /// The time at which the connection is closed if no bytes arrive.
    deadline: Cell<Moment>,
    silence: Duration,
    /// The number of bytes that may still be discarded.
    left: Cell<usize>,
}

/// Lets the connection `key` linger. The stream is no longer the source of `key`.
pub(super) fn linger(reactor: &Reactor, key: Key) {
    let kernel = &reactor.0;
    match kernel.streams(|streams| half_close(streams, key)) {
        Ok(Ok(())) => {}
        // The peer has closed its side already, so the socket need not linger.
        Ok(Err(_)) => return kernel.close_stream(key),
        Err(_away) => kernel.tell_streams(move |streams| drop(half_close(streams, key))),
    }
    reactor.feature::<Lingering>().add(reactor, key);
}

/// Whether a connection with these `flags` lingers.
pub(super) fn may_linger(reactor: &Reactor, flags: Flags) -> bool {
    let bounds = reactor.feature::<Lingering>().bounds.get();
    let is_wanted = flags.contains(Flags::LINGERS) || bounds.is_default && !flags.contains(Flags::PROMPT);
    is_wanted && bounds.connections > 0
}

/// Closes the lingering connection that has the least time left, to free its descriptor. Returns whether there was one.
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

    /// Closes the connection, even if the peer has not closed its side.
    fn end(&self, reactor: &Reactor, lingerer: &Lingerer) {
        self.by_deadline.borrow_mut().remove(&(lingerer.deadline.get(), lingerer.key));
        self.by_key.borrow_mut().remove(&lingerer.key);
        drop(reactor.0.remove_source(lingerer.key));
        reactor.0.close_stream(lingerer.key);
        self.watch(reactor);
    }

    /// Extends the deadline, because the peer has sent bytes.
    fn prolong(&self, reactor: &Reactor, lingerer: &Lingerer) {
        let mut by_deadline = self.by_deadline.borrow_mut();
        by_deadline.remove(&(lingerer.deadline.get(), lingerer.key));
        lingerer.deadline.set(lingerer.last.min(reactor.now() + lingerer.silence));
        by_deadline.insert((lingerer.deadline.get(), lingerer.key));
    }

    fn end_due(&self, reactor: &Reactor) {
        self.timer.take();
        if self.by_key.borrow().is_empty() {
            return notify(self.waiters.take());
        }
        let now = reactor.now();
        while let Some(lingerer) = self.first().filter(|lingerer| lingerer.deadline.get() <= now) {
            self.end(reactor, &lingerer);
        }
        self.watch(reactor);
    }

    /// Keeps a timer for the earliest deadline. A timer set for before that deadline is not cancelled. When it runs, it
    /// starts a timer for the earliest deadline.
    ///
    /// If no connection lingers, the timer notifies the waiters. The caller must not, because it may be a connection or
    /// a port in the middle of its work.
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

    fn panicked(self: Rc<Lingerer>, reactor: &Reactor, _error: Error) {
        reactor.feature::<Lingering>().end(reactor, &self);
    }

    /// Does nothing, because `run_ended` closes the lingering connections after all other sources.
    fn shut_down(self: Rc<Lingerer>, _reactor: &Reactor) {}
}

impl Lingerer {
    /// Discards the bytes that have arrived, up to the connection's share of the turn. Returns their number, or `None`
    /// at the end of the stream or above the limit of discarded bytes.
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

fn notify(waiters: Vec<Resolver<()>>) {
    for resolver in waiters {
        let _ = resolver.callback(());
    }
}

fn half_close(streams: &mut dyn Streams, key: Key) -> io::Result<()> {
    streams.shutdown_write(key)?;
    streams.set_reading(key, true)
}
