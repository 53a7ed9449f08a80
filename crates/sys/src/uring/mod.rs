//! io_uring(7): a provider to which the kernel reports what has been done, and not what could be.
//!
//! ```text
//!   set_reading --> a receive that goes on by itself; what it completes is kept under the key until `receive` asks.
//!                   For a connection with much to read (`Pace`) it is a poll that goes on, and `receive` asks the
//!                   system itself
//!   send        --> small: into a batch that leaves with the next enter. Large: at once, by a call of its own
//!   watch       --> a poll, made again after each report: watching is level-triggered. So is a port: nobody is accepted
//!                   before `accept` asks
//!   wait        --> one io_uring_enter: submits everything, waits, and has the kernel make completions
//! ```
//!
//! What arrived is copied into the caller's buffer when it is little, or much, and else lent: a small ring of buffers that
//! is emptied at once stays in the cache. A connection that nobody reads holds no buffer of the ring.
//!
//! The rules that keep it sound:
//! - an operation is under way until its last completion (`operation.rs`); a cancel frees nothing;
//! - what the kernel writes to while an operation goes on are the ring's buffers alone, and they live until all operations have
//!   ended or, if that cannot be had, for ever;
//! - sends end within the enter that submits them (`batch.rs`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Address, Key, Moment, Outbox, Slab};
use rustix::io::{Errno, fcntl_getfd};

use crate::io_handle::{AsRawIo, OwnedIo, RawIo};
use crate::provider::{
    Capabilities, Clock, ConnectSpec, Event, EventProvider, Events, Interest, Kind, ListenSpec, Received, Sent,
    SocketOption,
};
use crate::socket::{accept, address, adopt, connect, listen, option, transfer};
use crate::waker::{Bell, Waker};

mod arming;
mod batch;
mod buffers;
mod completing;
mod ending;
mod lingering;
mod operation;
mod ring;
#[cfg(test)]
mod schedules;
mod source;
#[cfg(test)]
mod tests;
mod token;

use batch::{Batch, SMALL};
use buffers::Buffers;
use lingering::Linger;
use operation::{UnderWay, Verbs};
use ring::{Completion, Entered, Ring, Setup};
use source::{End, Source, What};

/// The longest wait that is asked of the kernel: 24.8 days, as for the others.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// How often a wait that does not block submits what its completions gave rise to.
const PASSES: u32 = 4;

/// How often the kernel may refuse entries for want of memory or room before the loop gives up.
const REFUSALS: u32 = 1000;

/// The provider on io_uring.
pub(crate) struct Uring {
    /// Closed before the sources and the buffers go.
    ring: Ring,
    /// A copy of the ring's descriptor for a host loop.
    foreign: Option<OwnedFd>,
    sources: Slab<Source>,
    under_way: UnderWay,
    lingers: Slab<Linger>,
    batch: Batch,
    buffers: Buffers,
    /// Who may have something to report, or something to arm.
    due: Vec<Key>,
    /// The same while they are looked at.
    looking: Vec<Key>,
    /// Whose stream should not go on.
    unwanted: Vec<Key>,
    completions: Vec<Completion>,
    bell: Arc<Bell>,
    bell_is_polled: bool,
    rung: bool,
    /// A receive ended for want of buffers.
    ran_dry: bool,
    /// A host loop watches the ring, so nothing may be left for the next wait to submit.
    hosted: bool,
    /// It is being dropped: nothing is armed any more.
    ending: bool,
    began: Instant,
}

impl Uring {
    /// For the table of providers.
    ///
    /// # Errors
    /// Why io_uring does not work here.
    pub(crate) fn open() -> io::Result<Box<dyn EventProvider>> {
        Ok(Box::new(Uring::on(Ring::open(Setup::Deferred)?)?))
    }

    fn on(ring: Ring) -> io::Result<Uring> {
        let buffers = Buffers::new(&ring)?;
        Ok(Uring {
            ring,
            foreign: None,
            sources: Slab::new(),
            under_way: UnderWay::default(),
            lingers: Slab::new(),
            batch: Batch::default(),
            buffers,
            due: Vec::new(),
            looking: Vec::new(),
            unwanted: Vec::new(),
            completions: Vec::new(),
            bell: Bell::new()?,
            bell_is_polled: false,
            rung: false,
            ran_dry: false,
            hosted: false,
            ending: false,
            began: Instant::now(),
        })
    }

    fn source(&self, key: Key) -> io::Result<&Source> {
        self.sources.get(key).ok_or_else(stale)
    }

    fn source_mut(&mut self, key: Key) -> io::Result<&mut Source> {
        self.sources.get_mut(key).ok_or_else(stale)
    }

    fn socket(&self, key: Key) -> io::Result<BorrowedFd<'_>> {
        self.source(key)?.socket()
    }

    /// Has the next wait look at a source.
    fn look_at(&mut self, key: Key) {
        if let Some(source) = self.sources.get_mut(key) {
            if !std::mem::replace(&mut source.due, true) {
                self.due.push(key);
            }
        }
    }

    /// Submits everything, and takes the completions in. With a `wait` it blocks until there is one.
    fn enter(&mut self, wait: Option<Option<Duration>>) -> io::Result<Entered> {
        self.batch.push(&mut self.ring);
        let mut wait = wait;
        let mut refusals = 0;
        loop {
            let this_wait = if self.ring.fits() { wait } else { None };
            let entered = match self.ring.enter(this_wait) {
                Ok(entered) => entered,
                Err(error) if self.ring.is_anothers(&error) => {
                    self.go_plain()?;
                    self.batch.push(&mut self.ring);
                    // It took completions.
                    wait = None;
                    continue;
                }
                Err(error) if is_passing(&error) && refusals < REFUSALS => {
                    refusals += 1;
                    if self.take_completions() {
                        wait = None;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            // What came of the first entries is not kept waiting by the last.
            if self.take_completions() || this_wait.is_some() {
                wait = None;
            }
            if !self.ring.is_behind() && (wait.is_none() || entered == Entered::Interrupted) {
                self.batch.finish();
                return Ok(entered);
            }
        }
    }

    /// While a host loop sleeps on the ring, nothing may wait for the next wait.
    fn keep_up(&mut self) -> io::Result<()> {
        if self.hosted { self.keep_up_hosted() } else { Ok(()) }
    }

    /// Collects what there is to report, and arms what is not armed.
    fn collect(&mut self, events: &mut Events) {
        self.grow_if_dry();
        std::mem::swap(&mut self.due, &mut self.looking);
        for index in 0..self.looking.len() {
            let key = self.looking[index];
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.due = false;
            let ready = source.ready();
            if !ready.is_empty() {
                source.reported();
                events.push(Event { key, ready });
                // What is not taken is reported again.
                self.look_at(key);
            }
            // A watched descriptor that was reported is polled again by the next wait, or it would end this one.
            if ready.is_empty() {
                self.arm(key);
            }
        }
        self.looking.clear();
    }

    /// Arms what is not armed, and says whether there is something to report already.
    fn look_again(&mut self) -> bool {
        std::mem::swap(&mut self.due, &mut self.looking);
        let mut found = false;
        for index in 0..self.looking.len() {
            let key = self.looking[index];
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.due = false;
            let ready = !source.ready().is_empty();
            found |= ready;
            self.arm(key);
            if ready {
                self.look_at(key);
            }
        }
        self.looking.clear();
        found
    }

    fn wait_for_events(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let mut passes = PASSES;
        let deadline = timeout.filter(|timeout| !timeout.is_zero()).map(|timeout| Instant::now() + timeout);
        let mut timeout = timeout;
        loop {
            let wait = if timeout == Some(Duration::ZERO) { None } else { Some(timeout) };
            let entered = self.enter(wait)?;
            self.collect(events);
            if !events.is_empty() || self.rung || entered == Entered::Interrupted {
                return Ok(());
            }
            if let Some(deadline) = deadline {
                timeout = Some(deadline.saturating_duration_since(Instant::now()));
            }
            passes = passes.saturating_sub(1);
            if timeout == Some(Duration::ZERO) && (passes == 0 || !self.ring.is_behind()) {
                return Ok(());
            }
        }
    }

    /// Sends what does not fit into a batch.
    fn send_now(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let connection = self.source_mut(key)?.as_connection()?;
        transfer::send_outbox(connection.fd.as_fd(), outbox)?;
        connection.awaits_write = !outbox.is_empty();
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
        connection.writable = false;
        self.arm(key);
        self.keep_up()?;
        Ok(Sent::Some)
    }

    /// Has what was batched for a connection leave, so that what follows stays behind it.
    fn flush_batched(&mut self, key: Key) -> io::Result<()> {
        let place = self.source_mut(key)?.as_connection()?.batched;
        if self.batch.holds(key, place) { self.enter(None).map(drop) } else { Ok(()) }
    }
}

impl EventProvider for Uring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.began.elapsed()
    }

    fn clock(&self) -> Clock {
        let began = self.began;
        Arc::new(move || Moment::ZERO + began.elapsed())
    }

    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let (socket, file) = listen::open(spec)?;
        let address = address::local(&socket)?;
        Ok((self.sources.insert(Source::port(socket, file)), address))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let mut source = Source::connection(connect::begin(spec)?, &spec.address);
        source.as_connection()?.awaits_write = true;
        let key = self.sources.insert(source);
        self.arm(key);
        self.keep_up()?;
        Ok(key)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        let source = self.source_mut(key)?;
        let outcome = connect::finish(source.socket()?);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let connection = source.as_connection()?;
            connection.awaits_write = true;
            connection.writable = false;
            self.arm(key);
            self.keep_up()?;
        }
        outcome
    }

    fn adopt(&mut self, io: OwnedIo, kind: Kind) -> io::Result<Key> {
        adopt::take_over(&io, kind)?;
        let address = address::local(&io)?;
        Ok(self.sources.insert(match kind {
            Kind::StreamPort => Source::port(io, None),
            Kind::StreamConnection => Source::connection(io, &address),
        }))
    }

    fn watch(&mut self, io: RawIo, interest: Interest) -> io::Result<Key> {
        if io < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: the number is not -1. Its owner keeps it open while it is watched; if not, fcntl(2) answers EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(io) };
        fcntl_getfd(fd)?;
        let mut source = Source::watched(fd);
        source.wanted = interest;
        let key = self.sources.insert(source);
        self.arm(key);
        self.keep_up()?;
        Ok(key)
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let source = self.source_mut(key)?;
        let What::Watched(_) = source.what else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "interest is for watched descriptors"));
        };
        if std::mem::replace(&mut source.wanted, interest) == interest {
            return Ok(());
        }
        let polled = source.under_way.contains(Verbs::POLL);
        self.cancel(key, Verbs::POLL);
        self.look_at(key);
        if polled && interest.is_empty() {
            // Its owner may close it now, and the kernel must have let go of it.
            self.enter(None)?;
        }
        self.keep_up()
    }

    fn close(&mut self, key: Key) {
        self.end(key);
    }

    fn abort(&mut self, key: Key) {
        if let Ok(connection) = self.source_mut(key).and_then(Source::as_connection) {
            option::reset_on_close(connection.fd.as_fd());
            connection.take_unsent();
            let place = connection.batched;
            self.batch.withdraw(key, place);
        }
        self.end(key);
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        let source = self.source_mut(key)?;
        source.socket()?;
        source.wanted.set(Interest::READ, on);
        if on {
            self.look_at(key);
            self.arm(key);
        } else {
            self.set_aside(key);
        }
        self.keep_up()
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let receives = source.receives();
        let connection = source.as_connection()?;
        if !connection.holds() {
            if let Some(chunk) = self.buffers.lend(&mut connection.chain) {
                return Ok(Received::Lent(chunk));
            }
        }
        let mut count = connection.take_held(scratch);
        count += self.buffers.take(&mut connection.chain, &mut scratch[count..]);
        if count > 0 {
            let all = connection.is_drained() && connection.end == End::Open && receives;
            return Ok(if all { Received::Drained(count) } else { Received::Filled(count) });
        }
        connection.check()?;
        if connection.end == End::Eof {
            return Ok(Received::Eof);
        }
        if receives {
            return Ok(Received::Empty);
        }
        let received = transfer::receive(connection.fd.as_fd(), scratch)?;
        let count = received.unwrap_or(0);
        let all = count < scratch.len() && (received.is_none() || !connection.stops_short);
        let hung_up = connection.hung_up;
        if connection.took(count, all) {
            self.look_at(key);
        }
        Ok(match received {
            None => Received::Empty,
            Some(0) => Received::Eof,
            Some(count) if all && !hung_up => Received::Drained(count),
            Some(count) => Received::Filled(count),
        })
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let source = self.source_mut(key)?;
        if let Some(number) = source.as_port()?.error.take() {
            return Err(io::Error::from_raw_os_error(number));
        }
        let Some((socket, peer)) = accept::next(source.socket()?)? else { return Ok(None) };
        Ok(Some((self.sources.insert(Source::connection(socket, &peer)), peer)))
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let connection = self.sources.get_mut(key).ok_or_else(stale)?.as_connection()?;
        connection.check()?;
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
        if connection.unsent().is_some() {
            connection.awaits_write = true;
            return Ok(Sent::InFlight);
        }
        if !self.batch.is_open() {
            return Err(io::Error::other("io_uring takes no entries any more"));
        }
        let fd = connection.fd.as_raw_fd();
        if outbox.len() <= SMALL && self.batch.add(key, fd, &mut connection.batched, outbox) {
            connection.awaits_write = false;
            if self.batch.is_full() || self.hosted {
                self.enter(None)?;
                self.keep_up()?;
            }
            return Ok(Sent::All);
        }
        let place = connection.batched;
        if self.batch.holds(key, place) {
            self.enter(None)?;
            return self.send(key, outbox);
        }
        self.send_now(key, outbox)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.flush_batched(key)?;
        let connection = self.source_mut(key)?.as_connection()?;
        connection.check()?;
        if connection.unsent().is_some() {
            return Ok(0);
        }
        transfer::send_slice(connection.fd.as_fd(), bytes)
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.flush_batched(key)?;
        let source = self.source_mut(key)?;
        if let Some(unsent) = source.as_connection()?.unsent_mut() {
            unsent.shutdown = true;
            return Ok(());
        }
        Ok(rustix::net::shutdown(source.socket()?, rustix::net::Shutdown::Write)?)
    }

    fn local_address(&self, key: Key) -> io::Result<Address> {
        address::local(self.socket(key)?)
    }

    fn peer_address(&self, key: Key) -> io::Result<Address> {
        address::peer(self.socket(key)?)
    }

    fn option(&self, key: Key, option: SocketOption) -> io::Result<bool> {
        option::get(self.socket(key)?, option)
    }

    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        option::set(self.socket(key)?, option, on)
    }

    fn raw_io(&self, key: Key) -> Option<RawIo> {
        Some(self.sources.get(key)?.raw_fd())
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.clear();
        self.buffers.reclaim();
        self.cancel_unwanted();
        self.poll_bell();
        let found = self.look_again() || self.rung;
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        let timeout = if self.bell.fall_asleep() && !found { timeout } else { Some(Duration::ZERO) };
        let outcome = self.wait_for_events(timeout, events);
        self.bell.wake_up();
        self.rung = false;
        outcome?;
        if self.hosted { self.leave_to_host(events) } else { Ok(()) }
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // What was batched is the parent's to send.
        self.batch.reset(false);
        self.replace_ring(Ring::open(Setup::Deferred)?, false)
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }

    fn foreign(&mut self) -> Option<RawIo> {
        if self.ring.setup() == Setup::Deferred {
            self.end_receives();
        }
        self.go_plain().ok()?;
        self.bell.watch();
        self.hosted = true;
        let foreign = self.foreign_fd().ok()?;
        self.keep_up_hosted().ok()?;
        Some(foreign)
    }
}

/// Refusals that pass when completions have been taken.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM))
}

fn stale() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the key was ended")
}
