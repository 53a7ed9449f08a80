//! An event provider that counts the requests to another provider. Costs are counted and not timed.
//!
//! On select, poll and epoll, every request counted is one system call, except a change: a deferred change costs none
//! (`readiness/mod.rs`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ropewalk::Address;
use ropewalk::proto::{Key, Outbox};
use ropewalk::sys::{
    EventProvider, Events, Interest, ProviderDecorator, RawWaitable, Received, Sent, Streams, StreamsDecorator, Wake,
    Waker, Watches, WatchesDecorator,
};

/// The number of requests to a provider so far. Cheap to clone, and readable from other threads.
#[derive(Clone, Default)]
pub struct Counts(Arc<Counters>);

#[derive(Default)]
struct Counters {
    requests: [AtomicU64; 7],
    last_memory: AtomicU64,
}

/// A kind of request.
#[derive(Clone, Copy)]
enum Request {
    Wait,
    EmptyWait,
    Receive,
    Send,
    Accept,
    Change,
    Wake,
}

/// Numbers of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Waits begun.
    pub waits: u64,
    /// Waits that returned no event.
    pub empty_waits: u64,
    /// Attempts to receive.
    pub receives: u64,
    /// Attempts to send.
    pub sends: u64,
    /// Attempts to accept.
    pub accepts: u64,
    /// Changes of interest.
    pub changes: u64,
    /// Wake-ups, from any thread.
    pub wakes: u64,
}

impl Counts {
    /// Returns the numbers now.
    pub fn now(&self) -> Costs {
        let [waits, empty_waits, receives, sends, accepts, changes, wakes] =
            std::array::from_fn(|request| self.0.requests[request].load(Ordering::SeqCst));
        Costs { waits, empty_waits, receives, sends, accepts, changes, wakes }
    }

    /// Returns the numbers since `before`.
    pub fn since(&self, before: Costs) -> Costs {
        let now = self.now();
        Costs {
            waits: now.waits - before.waits,
            empty_waits: now.empty_waits - before.empty_waits,
            receives: now.receives - before.receives,
            sends: now.sends - before.sends,
            accepts: now.accepts - before.accepts,
            changes: now.changes - before.changes,
            wakes: now.wakes - before.wakes,
        }
    }

    /// Returns the address of the memory of the last attempt to receive.
    pub fn last_memory(&self) -> u64 {
        self.0.last_memory.load(Ordering::SeqCst)
    }

    fn add(&self, request: Request) {
        self.0.requests[request as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts each request, and forwards it.
pub struct Counting {
    provider: Box<dyn EventProvider>,
    counts: Counts,
}

impl Counting {
    /// Wraps `provider`. Also returns the counts.
    pub fn new(provider: Box<dyn EventProvider>) -> (Counting, Counts) {
        let counts = Counts::default();
        (Counting { provider, counts: counts.clone() }, counts)
    }
}

impl ProviderDecorator for Counting {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        self.provider.streams()?;
        Some(self)
    }

    fn watches(&mut self) -> Option<&mut dyn Watches> {
        self.provider.watches()?;
        Some(self)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.counts.add(Request::Wait);
        let outcome = self.provider.wait(timeout, events);
        if events.is_empty() {
            self.counts.add(Request::EmptyWait);
        }
        outcome
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::new(CountingWake { waker: self.provider.waker(), counts: self.counts.clone() }))
    }
}

impl StreamsDecorator for Counting {
    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.counts.add(Request::Change);
        self.decorated_streams().set_reading(key, on)
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.counts.add(Request::Receive);
        self.counts.0.last_memory.store(scratch.as_ptr() as u64, Ordering::SeqCst);
        self.decorated_streams().receive(key, scratch)
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        self.counts.add(Request::Accept);
        self.decorated_streams().accept(key)
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.counts.add(Request::Send);
        self.decorated_streams().send(key, outbox)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.counts.add(Request::Send);
        self.decorated_streams().send_slice(key, bytes)
    }
}

impl WatchesDecorator for Counting {
    fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key> {
        self.counts.add(Request::Change);
        self.decorated_watches().watch(handle, interest)
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        self.counts.add(Request::Change);
        self.decorated_watches().set_interest(key, interest)
    }
}

/// This waker is async-signal-safe, as the inner waker is: it only adds to an atomic number.
struct CountingWake {
    waker: Waker,
    counts: Counts,
}

impl Wake for CountingWake {
    fn wake(&self) {
        self.counts.add(Request::Wake);
        self.waker.wake();
    }
}
