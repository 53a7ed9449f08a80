//! Providers that are told when a descriptor is ready, and then make the system call: select, poll and epoll.
//!
//! A source has what its owner wants and what the selector is armed for. To want more arms at once; to want less is
//! carried out when it would otherwise cost a wake-up:
//!
//! ```text
//!   READ switched off     disarmed when something arrives that nobody wants
//!   WRITE reported        no longer wanted; disarmed before the next wait unless `send` wants it again
//! ```
//!
//! So a connection that pauses and resumes between two messages, or that fills the kernel's buffer again and again,
//! costs no system call for its interest. Connections over TCP are watched edge-triggered where the selector can: what
//! `receive` or `send` leaves behind when a turn's share is used up is noted, and reported anew. A watched descriptor is exact: its owner may close it once it is not wanted.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Address, Key, Moment, Outbox, Slab};
use rustix::io::{Errno, fcntl_getfd};

use crate::io_handle::{AsRawIo, OwnedIo, RawIo};
use crate::provider::{
    Capabilities, Clock, ConnectSpec, Event, EventProvider, Events, Interest, Kind, ListenSpec, Ready, Received, Sent,
    SocketOption,
};
use crate::socket::{accept, address, adopt, connect, listen, option, transfer};
use crate::waker::{Bell, Waker};

#[cfg(linux_like)]
mod epoll;
mod poll;
mod select;
mod selector;
mod source;
mod timeout;

#[cfg(linux_like)]
pub(crate) use epoll::Epoll;
pub(crate) use poll::Poll;
pub(crate) use select::Select;
use selector::{Selector, Trigger};
use source::Source;

/// The provider that works with any selector.
pub(crate) struct Readiness<S> {
    /// Dropped before the sources: a descriptor must not be closed while something watches it.
    selector: S,
    sources: Slab<Source>,
    bell: Arc<Bell>,
    bell_key: Key,
    /// Whether the bell need not be emptied.
    rings_once: bool,
    /// Whose WRITE was reported since the last wait.
    reported: Vec<Key>,
    /// Whom the selector will not report again by itself, although more is there.
    left: Vec<Key>,
    /// How new connections over TCP are watched.
    trigger: Trigger,
    /// Whether the selector reported a key that was ended.
    ghosts: bool,
    began: Instant,
}

impl<S: Selector> Readiness<S> {
    /// For the table of providers.
    pub(crate) fn open() -> io::Result<Box<dyn EventProvider>> {
        let bell = Bell::new()?;
        let mut sources = Slab::new();
        let bell_key = sources.insert(Source::watched(bell.fd()));
        let mut selector = S::new()?;
        let rings_once = selector.add_bell(bell.fd(), bell_key)?;
        Ok(Box::new(Readiness {
            selector,
            sources,
            bell,
            bell_key,
            rings_once,
            reported: Vec::new(),
            left: Vec::new(),
            trigger: if S::EDGES { Trigger::Edge } else { Trigger::Level },
            ghosts: false,
            began: Instant::now(),
        }))
    }

    /// Gives a source its key; if the selector refuses it, the source is dropped.
    fn insert(&mut self, source: Source, wanted: Interest) -> io::Result<Key> {
        let key = self.sources.insert(source);
        let outcome = self.enter(key, wanted);
        if outcome.is_err() {
            self.sources.remove(key);
        }
        outcome.map(|()| key)
    }

    fn enter(&mut self, key: Key, wanted: Interest) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        self.selector.add(source.fd(), key)?;
        want(&mut self.selector, source, key, wanted)
    }

    fn source(&self, key: Key) -> io::Result<&Source> {
        self.sources.get(key).ok_or_else(stale)
    }

    fn socket(&self, key: Key) -> io::Result<BorrowedFd<'_>> {
        self.source(key)?.socket()
    }

    /// More may be there than `receive` took.
    #[inline(never)]
    fn left_unread(&mut self, key: Key) {
        if let Some(source) = self.sources.get_mut(key) {
            source.unread = true;
            report_anew(&mut self.left, source, key);
        }
    }

    /// Why `receive` took nothing.
    #[inline(never)]
    fn received_nothing(&mut self, key: Key, error: Errno) -> io::Result<Received> {
        match error {
            Errno::AGAIN => self.sources.get_mut(key).ok_or_else(stale)?.unread = false,
            Errno::INTR => self.left_unread(key),
            _ => return Err(error.into()),
        }
        Ok(Received::Empty)
    }

    /// Sends what one call did not take, unless the system takes no more, and waits until more goes.
    #[inline(never)]
    fn send_on(&mut self, key: Key, outbox: &mut Outbox, full: bool) -> io::Result<Sent> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let full = full || transfer::send_outbox(source.socket()?, outbox)?;
        let (wanted, sent) = match outbox.is_empty() {
            true => (source.wanted - Interest::WRITE, Sent::All),
            false => (source.wanted | Interest::WRITE, Sent::Some),
        };
        want(&mut self.selector, source, key, wanted)?;
        if sent == Sent::Some && !full {
            source.unsent = true;
            report_anew(&mut self.left, source, key);
        }
        Ok(sent)
    }

    /// Disarms the reported WRITEs that nobody wanted again, or they would end the wait at once.
    fn disarm_reported(&mut self) -> io::Result<()> {
        for key in self.reported.drain(..) {
            let Some(source) = self.sources.get_mut(key) else { continue };
            if source.armed.contains(Interest::WRITE) && !source.wanted.contains(Interest::WRITE) {
                arm(&mut self.selector, source, key)?;
            }
        }
        Ok(())
    }

    /// Has the selector report those again whose owners left something behind, and want it.
    fn report_left(&mut self) -> io::Result<()> {
        for key in self.left.drain(..) {
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.reported_anew = false;
            let unsent = mem::take(&mut source.unsent) && source.wanted.contains(Interest::WRITE);
            if unsent || source.unread && source.wanted.contains(Interest::READ) {
                self.selector.modify(source.fd(), key, source.armed, source.armed, source.trigger)?;
            }
        }
        Ok(())
    }

    /// From here on the selector itself knows, at any time, who is ready.
    fn watch_by_level(&mut self) -> io::Result<()> {
        self.trigger = Trigger::Level;
        for (key, source) in self.sources.iter_mut().filter(|(_, source)| source.trigger == Trigger::Edge) {
            source.trigger = Trigger::Level;
            self.selector.modify(source.fd(), key, source.armed, source.armed, Trigger::Level)?;
        }
        Ok(())
    }

    /// How a connection to this peer is watched. A read from a UNIX socket stops short at passed descriptors, of which
    /// nothing tells beforehand.
    fn trigger(&self, peer: &Address) -> Trigger {
        match peer {
            Address::Inet(_) => self.trigger,
            _ => Trigger::Level,
        }
    }

    /// Lets the selector begin again with what the sources are armed for, and nothing else.
    fn arm_anew(&mut self) -> io::Result<()> {
        self.ghosts = false;
        self.selector.forget_all()?;
        for (key, source) in self.sources.iter() {
            if key == self.bell_key {
                self.selector.add_bell(source.fd(), key)?;
                continue;
            }
            self.selector.add(source.fd(), key)?;
            match self.selector.modify(source.fd(), key, Interest::empty(), source.armed, source.trigger) {
                // A watched descriptor that its owner has closed reports nothing any more.
                Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Silences whoever reports under a key that was ended: a watched file whose owner closed its descriptor while it was
    /// watched, but not every copy of it. That may take a descriptor; where there is none, a later wait does it.
    fn lay_ghosts(&mut self) -> io::Result<()> {
        match self.arm_anew() {
            Err(error) if lacks_descriptors(&error) => self.ghosts = true,
            outcome => outcome?,
        }
        Ok(())
    }

    /// Turns what the selector saw into what the owners of the keys want to know.
    fn interpret(&mut self, events: &mut Events) {
        let odd = events.iter_mut().position(|event| !self.interpret_plain(event));
        if let Some(first) = odd {
            self.interpret_from(first, events);
        }
    }

    /// From the first on that is not like nearly all.
    #[inline(never)]
    fn interpret_from(&mut self, first: usize, events: &mut Events) {
        let mut kept = first;
        for place in first..events.len() {
            let event = &mut events[place];
            if self.interpret_plain(event) || self.interpret_one(event) {
                if kept != place {
                    events[kept] = events[place];
                }
                kept += 1;
            }
        }
        events.truncate(kept);
    }

    /// Nearly every event: bytes, for somebody who waits for them and for nothing else.
    #[inline(always)]
    fn interpret_plain(&mut self, event: &mut Event) -> bool {
        if event.ready - Ready::WRITE != Ready::READ {
            return false;
        }
        let Some(source) = self.sources.get_mut(event.key).filter(|source| source.only_reads()) else { return false };
        source.unread = true;
        event.ready = Ready::READ;
        true
    }

    /// Whether the owner of the key wants to know any of it.
    #[inline(never)]
    fn interpret_one(&mut self, event: &mut Event) -> bool {
        if event.key == self.bell_key {
            if !self.rings_once {
                self.bell.drain();
            }
            return false;
        }
        let Some(source) = self.sources.get_mut(event.key) else {
            self.ghosts = true;
            return false;
        };
        if event.ready.contains(Ready::GONE) {
            source.wanted = Interest::empty();
        }
        if event.ready.intersects(Ready::HANGUP | Ready::ERROR) {
            source.stops_short |= event.ready.contains(Ready::HANGUP);
            // The next read or write takes the bytes before the hang-up, then the hang-up or the error.
            event.ready |= source.armed.into();
        }
        if event.ready.intersects(Ready::from(source.armed - source.wanted)) || event.ready.contains(Ready::GONE) {
            // It fails for a descriptor that is not open any more, which reports nothing any more.
            let _ = arm(&mut self.selector, source, event.key);
        }
        source.stops_short |= event.ready.contains(Ready::URGENT);
        source.unread |= event.ready.contains(Ready::READ);
        event.ready -= Ready::from(!source.wanted) | Ready::URGENT;
        if event.ready.contains(Ready::WRITE) && !source.is_watched() {
            source.wanted -= Interest::WRITE;
            if source.trigger == Trigger::Level {
                self.reported.push(event.key);
            }
        }
        event.ready.intersects(Ready::READ | Ready::WRITE | Ready::GONE)
    }
}

impl<S: Selector> EventProvider for Readiness<S> {
    fn name(&self) -> &'static str {
        S::NAME
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
        let key = self.insert(Source::port(socket, file), Interest::empty())?;
        Ok((key, address))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let socket = connect::begin(spec)?;
        let trigger = self.trigger(&spec.address);
        self.insert(Source::owned(socket, trigger), Interest::WRITE)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let outcome = connect::finish(source.socket()?);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let wanted = source.wanted | Interest::WRITE;
            want(&mut self.selector, source, key, wanted)?;
        }
        outcome
    }

    fn adopt(&mut self, io: OwnedIo, kind: Kind) -> io::Result<Key> {
        adopt::take_over(&io, kind)?;
        self.insert(Source::owned(io, Trigger::Level), Interest::empty())
    }

    fn watch(&mut self, io: RawIo, interest: Interest) -> io::Result<Key> {
        if io < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: the number is not -1. Its owner keeps it open while it is watched; if not, fcntl(2) answers EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(io) };
        fcntl_getfd(fd)?;
        self.insert(Source::watched(fd), interest)
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        source.wanted = interest;
        arm(&mut self.selector, source, key)
    }

    fn close(&mut self, key: Key) {
        if let Some(source) = self.sources.remove(key) {
            self.selector.remove(source.fd(), key, source.armed);
        }
    }

    fn abort(&mut self, key: Key) {
        if let Ok(socket) = self.socket(key) {
            option::reset_on_close(socket);
        }
        self.close(key);
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let mut wanted = source.wanted;
        wanted.set(Interest::READ, on);
        let armed = source.armed;
        want(&mut self.selector, source, key, wanted)?;
        if on && source.unread && armed.contains(Interest::READ) {
            report_anew(&mut self.left, source, key);
        }
        Ok(())
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        match transfer::receive_directly(source.socket()?, scratch) {
            Ok(0) => Ok(Received::Eof),
            // Nearly always: everything that was there.
            Ok(count) if count < scratch.len() && !source.stops_short => {
                source.unread = false;
                Ok(Received::Drained(count))
            }
            Ok(count) => {
                self.left_unread(key);
                Ok(Received::Filled(count))
            }
            Err(error) => self.received_nothing(key, error),
        }
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let Some((socket, peer)) = accept::next(self.socket(key)?)? else { return Ok(None) };
        let trigger = self.trigger(&peer);
        Ok(Some((self.insert(Source::owned(socket, trigger), Interest::empty())?, peer)))
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let source = self.source(key)?;
        // Nearly always: nobody waits for WRITE, it is one segment, and one call takes it whole.
        if source.wanted.contains(Interest::WRITE) {
            return self.send_on(key, outbox, false);
        }
        let Some(bytes) = outbox.one_segment() else { return self.send_on(key, outbox, false) };
        match transfer::send_directly(source.socket()?, bytes) {
            Ok(taken) if taken == bytes.len() => {
                outbox.clear();
                Ok(Sent::All)
            }
            // Fewer than offered: the buffer is full, and the next call would only say so.
            Ok(taken) => {
                outbox.advance(taken);
                self.send_on(key, outbox, true)
            }
            Err(Errno::AGAIN) => self.send_on(key, outbox, true),
            Err(Errno::INTR) => self.send_on(key, outbox, false),
            Err(error) => Err(error.into()),
        }
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        transfer::send_slice(self.socket(key)?, bytes)
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.socket(key)?, rustix::net::Shutdown::Write)?)
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
        Some(self.sources.get(key)?.fd().as_raw_fd())
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.clear();
        self.disarm_reported()?;
        self.report_left()?;
        let timeout = if self.bell.fall_asleep() { timeout } else { Some(Duration::ZERO) };
        let outcome = self.selector.wait(timeout, events);
        self.bell.wake_up();
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.interpret(events);
                if self.ghosts { self.lay_ghosts() } else { Ok(()) }
            }
        }
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // What the child forgets is its copy of the descriptor; the parent's registrations stay.
        self.arm_anew()
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
    }

    fn foreign(&mut self) -> Option<RawIo> {
        let foreign = self.selector.foreign()?;
        self.bell.watch();
        self.watch_by_level().ok()?;
        Some(foreign)
    }
}

/// Sets what the owner wants, and arms it if that is more than is armed.
fn want<S: Selector>(selector: &mut S, source: &mut Source, key: Key, wanted: Interest) -> io::Result<()> {
    source.wanted = wanted;
    if source.armed.contains(wanted) { Ok(()) } else { arm(selector, source, key) }
}

/// Notes that the next wait has the selector report a source again.
#[inline]
fn report_anew(left: &mut Vec<Key>, source: &mut Source, key: Key) {
    if source.trigger == Trigger::Edge && !source.reported_anew {
        source.reported_anew = true;
        left.push(key);
    }
}

/// Arms what is wanted, and nothing else.
fn arm<S: Selector>(selector: &mut S, source: &mut Source, key: Key) -> io::Result<()> {
    if source.armed != source.wanted {
        selector.modify(source.fd(), key, source.armed, source.wanted, source.trigger)?;
        source.armed = source.wanted;
    }
    Ok(())
}

fn lacks_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|scarce| error.raw_os_error() == Some(scarce.raw_os_error()))
}

#[cold]
fn stale() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the key was ended")
}
