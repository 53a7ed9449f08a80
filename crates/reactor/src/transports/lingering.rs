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
use ropewalk_sys::{EventProvider, Received};

use super::stream::{BYTES_PER_TURN, READS_PER_TURN};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{Kernel, Reactor};

/// How long connections that have ended wait for their peers to end, too.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::transports::Linger;
/// use std::time::Duration;
///
/// let reactor = Reactor::new()?;
/// let less = Linger::default().time(Duration::from_secs(10)).silence(Duration::from_secs(1)).bytes(1 << 20).connections(100);
/// reactor.set_linger(less);
/// reactor.set_linger(Linger::never());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Linger {
    time: Duration,
    silence: Duration,
    bytes: usize,
    connections: usize,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger {
            time: Duration::from_secs(30),
            silence: Duration::from_secs(5),
            bytes: 16 * 1024 * 1024,
            connections: 1024,
        }
    }
}

impl Linger {
    /// Every connection is closed at once; the peer may see a reset instead of the last bytes.
    pub fn never() -> Linger {
        Linger::default().connections(0)
    }

    /// At most this long; 30 seconds at first.
    pub fn time(mut self, longest: Duration) -> Linger {
        self.time = longest;
        self
    }

    /// At most this long after the last byte of a peer that says nothing; 5 seconds at first.
    pub fn silence(mut self, longest: Duration) -> Linger {
        self.silence = longest;
        self
    }

    /// Until the peer has sent this many bytes, and a little more; 16 MiB at first.
    pub fn bytes(mut self, most: usize) -> Linger {
        self.bytes = most;
        self
    }

    /// At most this many connections at a time, 1024 at first: one more ends the one that has the least time left.
    pub fn connections(mut self, most: usize) -> Linger {
        self.connections = most;
        self
    }
}

impl Reactor {
    /// Sets how connections linger that end from here on. May be called at any time.
    pub fn set_linger(&self, linger: Linger) {
        self.0.lingering.bounds.set(linger);
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
        self.0.lingering.by_key.borrow().len()
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
        self.0.lingering.waiters.borrow_mut().push(resolver);
        deferred
    }
}

/// The connections that linger, and until when.
#[derive(Default)]
pub(crate) struct Lingering {
    bounds: Cell<Linger>,
    by_key: RefCell<BTreeMap<Key, Rc<Lingerer>>>,
    by_deadline: RefCell<BTreeSet<(Moment, Key)>>,
    /// Ends whoever is due, and tells the waiters; there only while there is somebody to end or to tell.
    timer: RefCell<Option<DelayedCall>>,
    /// Who wants to know that nobody lingers.
    waiters: RefCell<Vec<Resolver<()>>>,
}

impl Lingering {
    /// Whether this is its timer, which is none of the user's.
    pub(crate) fn owns(&self, call: &DelayedCall) -> bool {
        self.timer.borrow().as_ref().is_some_and(|timer| timer.is_same(call))
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

/// Has the connection `key` linger, which is nobody's source any more.
pub(super) fn linger(kernel: &Rc<Kernel>, key: Key) {
    let bounds = kernel.lingering.bounds.get();
    match kernel.provider(|provider| half_close(provider, key)) {
        Ok(Ok(())) => {}
        // The peer is gone already.
        Ok(Err(_)) => return close(kernel, key),
        Err(_away) => kernel.tell_provider(move |provider| drop(half_close(provider, key))),
    }
    while kernel.lingering.by_key.borrow().len() >= bounds.connections && kernel.end_a_lingerer() {}
    let now = kernel.now();
    let last = now + bounds.time;
    let deadline = Cell::new(last.min(now + bounds.silence));
    let left = Cell::new(bounds.bytes);
    let lingerer = Rc::new(Lingerer { key, last, deadline, silence: bounds.silence, left });
    lingerer.enter(kernel);
    kernel.lingering.by_key.borrow_mut().insert(key, lingerer);
    kernel.watch_lingerers();
}

impl Lingerer {
    /// Discards what has arrived, up to its share of the turn.
    fn ready(&self, kernel: &Rc<Kernel>, scratch: &mut [u8]) {
        let mut bytes = 0;
        for _ in 0..READS_PER_TURN {
            let (count, drained) = match kernel.receive(self.key, scratch) {
                Ok(Received::Drained(count)) => (count, true),
                Ok(Received::Filled(count)) => (count, false),
                Ok(Received::Lent(chunk)) => (chunk.len(), false),
                Ok(Received::Empty) => break,
                Ok(Received::Eof) | Err(_) => return self.end(kernel),
            };
            bytes += count;
            if drained || bytes >= BYTES_PER_TURN {
                break;
            }
        }
        match self.left.get().checked_sub(bytes) {
            Some(left) => self.left.set(left),
            None => return self.end(kernel),
        }
        if bytes > 0 {
            self.leave(kernel);
            self.deadline.set(self.last.min(kernel.now() + self.silence));
            self.enter(kernel);
        }
    }

    /// Closes it, whatever the peer does.
    fn end(&self, kernel: &Rc<Kernel>) {
        self.leave(kernel);
        kernel.lingering.by_key.borrow_mut().remove(&self.key);
        close(kernel, self.key);
        kernel.watch_lingerers();
    }

    fn enter(&self, kernel: &Kernel) {
        kernel.lingering.by_deadline.borrow_mut().insert((self.deadline.get(), self.key));
    }

    fn leave(&self, kernel: &Kernel) {
        kernel.lingering.by_deadline.borrow_mut().remove(&(self.deadline.get(), self.key));
    }
}

impl Kernel {
    /// Whether a connection lingers at all that ends in order now.
    pub(super) fn may_linger(&self) -> bool {
        self.lingering.bounds.get().connections > 0
    }

    /// Something has come for a key that is no source's.
    #[cold]
    #[inline(never)]
    pub(crate) fn lingerer_ready(self: &Rc<Kernel>, key: Key, scratch: &mut [u8]) {
        let lingerer = self.lingering.by_key.borrow().get(&key).cloned();
        if let Some(lingerer) = lingerer {
            lingerer.ready(self, scratch);
        }
    }

    /// Closes whatever lingers, at the end of a run.
    pub(crate) fn end_lingerers(self: &Rc<Kernel>) {
        // No later turn may come to tell them.
        let waiters = self.lingering.waiters.take();
        while self.end_a_lingerer() {}
        self.watch_lingerers();
        tell(waiters);
    }

    /// Ends the lingering connection that has the least time left, for its descriptor. Returns whether there was one.
    pub(super) fn end_a_lingerer(self: &Rc<Kernel>) -> bool {
        let first = self.first_lingerer();
        first.inspect(|lingerer| lingerer.end(self)).is_some()
    }

    fn end_due_lingerers(self: &Rc<Kernel>) {
        self.lingering.timer.take();
        if self.lingering.by_key.borrow().is_empty() {
            return tell(self.lingering.waiters.take());
        }
        let now = self.now();
        while let Some(lingerer) = self.first_lingerer().filter(|lingerer| lingerer.deadline.get() <= now) {
            lingerer.end(self);
        }
        self.watch_lingerers();
    }

    fn first_lingerer(&self) -> Option<Rc<Lingerer>> {
        let (_, key) = *self.lingering.by_deadline.borrow().first()?;
        self.lingering.by_key.borrow().get(&key).cloned()
    }

    /// Has the timer run while somebody lingers. It may be early, and then waits for who is next. Once nobody does, it tells
    /// the waiters, and not before it runs: a connection or a port may be in the middle of something.
    fn watch_lingerers(self: &Rc<Kernel>) {
        let first = match self.first_lingerer() {
            Some(lingerer) => Some(lingerer.deadline.get()),
            None => (!self.lingering.waiters.borrow().is_empty()).then(|| self.now()),
        };
        let due = self.lingering.timer.borrow().as_ref().and_then(DelayedCall::get_time);
        if first.zip(due).is_some_and(|(first, due)| due <= first) {
            return;
        }
        if let Some(timer) = self.lingering.timer.take() {
            let _ = timer.cancel();
        }
        let timer = first.map(|first| {
            let delay = first.since(self.now());
            Reactor(self.clone()).call_later(delay, |reactor| reactor.0.end_due_lingerers())
        });
        self.lingering.timer.replace(timer);
    }
}

fn tell(waiters: Vec<Resolver<()>>) {
    for resolver in waiters {
        let _ = resolver.callback(());
    }
}

fn half_close(provider: &mut dyn EventProvider, key: Key) -> io::Result<()> {
    provider.shutdown_write(key)?;
    provider.set_reading(key, true)
}

fn close(kernel: &Kernel, key: Key) {
    kernel.tell_provider(move |provider| provider.close(key));
    kernel.descriptor_closed();
}
