//! An event provider that counts the requests to another: costs are counted, not timed.
//!
//! On select, poll and epoll each count but `changes` stands for one system call. A change costs one only when it is
//! not deferred (`readiness/mod.rs`).

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ropewalk::proto::{Key, Outbox};
use ropewalk::sys::{
    Capabilities, Clock, ConnectSpec, EventProvider, Events, Interest, Kind, ListenSpec, OwnedIo, RawIo, Received,
    Sent, SocketOption, Wake, Waker,
};
use ropewalk::{Address, Moment};

/// The number of requests to a provider so far. Cheap to clone, and readable from other threads.
#[derive(Clone, Default)]
pub struct Counts(Arc<[AtomicU64; 7]>);

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
            std::array::from_fn(|request| self.0[request].load(Ordering::SeqCst));
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

    fn add(&self, request: Request) {
        self.0[request as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts each request, and forwards it.
pub struct Counting {
    provider: Box<dyn EventProvider>,
    counts: Counts,
}

impl Counting {
    /// Wraps `provider`, and returns the counts as well.
    pub fn new(provider: Box<dyn EventProvider>) -> (Counting, Counts) {
        let counts = Counts::default();
        (Counting { provider, counts: counts.clone() }, counts)
    }
}

impl EventProvider for Counting {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn now(&self) -> Moment {
        self.provider.now()
    }

    fn clock(&self) -> Clock {
        self.provider.clock()
    }

    fn wall_clock(&self) -> SystemTime {
        self.provider.wall_clock()
    }

    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        self.provider.listen(spec)
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        self.provider.connect(spec)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        self.provider.finish_connect(key)
    }

    fn adopt(&mut self, io: OwnedIo, kind: Kind) -> io::Result<Key> {
        self.provider.adopt(io, kind)
    }

    fn watch(&mut self, io: RawIo, interest: Interest) -> io::Result<Key> {
        self.counts.add(Request::Change);
        self.provider.watch(io, interest)
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        self.counts.add(Request::Change);
        self.provider.set_interest(key, interest)
    }

    fn close(&mut self, key: Key) {
        self.provider.close(key);
    }

    fn abort(&mut self, key: Key) {
        self.provider.abort(key);
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.counts.add(Request::Change);
        self.provider.set_reading(key, on)
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.counts.add(Request::Receive);
        self.provider.receive(key, scratch)
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        self.counts.add(Request::Accept);
        self.provider.accept(key)
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.counts.add(Request::Send);
        self.provider.send(key, outbox)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.counts.add(Request::Send);
        self.provider.send_slice(key, bytes)
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.provider.shutdown_write(key)
    }

    fn local_address(&self, key: Key) -> io::Result<Address> {
        self.provider.local_address(key)
    }

    fn peer_address(&self, key: Key) -> io::Result<Address> {
        self.provider.peer_address(key)
    }

    fn option(&self, key: Key, option: SocketOption) -> io::Result<bool> {
        self.provider.option(key, option)
    }

    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        self.provider.set_option(key, option, on)
    }

    fn raw_io(&self, key: Key) -> Option<RawIo> {
        self.provider.raw_io(key)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.counts.add(Request::Wait);
        let outcome = self.provider.wait(timeout, events);
        if events.is_empty() {
            self.counts.add(Request::EmptyWait);
        }
        outcome
    }

    fn lock_unix(&mut self, path: &Path) -> io::Result<Box<dyn Any>> {
        self.provider.lock_unix(path)
    }

    fn is_unix_locked(&mut self, path: &Path) -> bool {
        self.provider.is_unix_locked(path)
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.provider.reopen_after_fork()
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::new(CountingWake { waker: self.provider.waker(), counts: self.counts.clone() }))
    }

    fn foreign(&mut self) -> Option<RawIo> {
        self.provider.foreign()
    }
}

/// Async-signal-safe, as the inner waker is: it only adds to an atomic number.
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
