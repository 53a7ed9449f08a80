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
//! `receive` or `send` leaves behind when a turn's share is used up is noted, and reported anew. A watched descriptor
//! is exact: its owner may close it once it is not wanted.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, Moment, Slab};
use rustix::io::Errno;

use crate::filesystem::SystemFiles;
use crate::io_handle::RawWaitable;
use crate::seam::{
    Adoption, Clock, Event, EventProvider, Events, Filesystem, Interest, Ready, Sockets, Streams, Watches,
};
use crate::socket::table::stale;
use crate::waker::{Bell, Waker};

#[cfg(linux_like)]
mod epoll;
mod poll;
mod select;
mod selector;
mod source;
mod streams;
mod timeout;
mod watches;

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
    files: SystemFiles,
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
            files: SystemFiles,
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

    fn end(&mut self, key: Key) {
        if let Some(source) = self.sources.remove(key) {
            self.selector.remove(source.fd(), key, source.armed);
        }
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

    /// Silences whoever reports under a key that was ended: a watched file whose owner closed its descriptor while it
    /// was watched, but not every copy of it. That may take a descriptor; where there is none, a later wait does it.
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

    fn clock(&self) -> Clock {
        let began = self.began;
        Arc::new(move || Moment::ZERO + began.elapsed())
    }

    fn waker(&self) -> Waker {
        self.bell.waker()
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

    fn host_handle(&mut self) -> Option<RawWaitable> {
        let foreign = self.selector.foreign()?;
        self.bell.watch();
        self.watch_by_level().ok()?;
        Some(foreign)
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // What the child forgets is its copy of the descriptor; the parent's registrations stay.
        self.arm_anew()
    }

    fn has_signals(&self) -> bool {
        true
    }

    #[inline]
    fn streams(&mut self) -> Option<&mut dyn Streams> {
        Some(self)
    }

    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        Some(&mut self.sources)
    }

    fn adoption(&mut self) -> Option<&mut dyn Adoption> {
        Some(self)
    }

    fn watches(&mut self) -> Option<&mut dyn Watches> {
        Some(self)
    }

    fn filesystem(&mut self) -> Option<&mut dyn Filesystem> {
        Some(&mut self.files)
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
