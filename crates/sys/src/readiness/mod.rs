//! Providers on readiness: select, poll and epoll. The kernel reports that a descriptor is ready, and the provider
//! makes the system call.
//!
//! A registration has the readiness that its owner wants, and the readiness that the selector is armed for. When the
//! owner wants more, the selector is armed at once. When the owner wants less, the selector is disarmed only if it
//! would otherwise wake the loop:
//!
//! ```text
//!   READ switched off     disarmed when something arrives that is not wanted. A connection stays armed for its loss
//!   WRITE reported        no longer wanted, disarmed before the next wait unless `send` wants it again
//! ```
//!
//! So a connection costs no system call for its interest when it pauses and resumes between two messages, or fills the
//! kernel's buffer again and again. TCP connections are watched edge-triggered where the selector can. If `receive` or
//! `send` leaves bytes behind because a turn's share is used up, the next wait re-arms the descriptor. Interest in a
//! watched descriptor is never lazy, because its owner may close the descriptor once it wants nothing.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, Moment, Slab};
use rustix::io::Errno;

use crate::filesystem::SystemFiles;
use crate::io_handle::RawWaitable;
use crate::process::Children;
use crate::providers::Provider;
use crate::seam::{
    Adoption, Clock, Datagrams, DescriptorPassing, Event, EventProvider, Events, Filesystem, Pipes, Ready, Sockets,
    Streams, Watches,
};
use crate::socket::table::stale;
use crate::waker::{Bell, Waker};

mod datagrams;
mod descriptor_passing;
#[cfg(linux_like)]
mod epoll;
#[cfg(linux_like)]
mod numbers;
mod poll;
#[cfg(linux_like)]
mod processes;
mod registration;
mod select;
mod selector;
mod streams;
mod timeout;
mod watches;

#[cfg(linux_like)]
pub(crate) use epoll::Epoll;
pub(crate) use poll::Poll;
use registration::Registration;
pub(crate) use select::Select;
use selector::{Selector, Trigger, Watch};

/// The provider that works with any selector.
pub(crate) struct Readiness<S> {
    /// The selector is dropped before the sources, because a descriptor must not be closed while the selector watches
    /// it.
    selector: S,
    sources: Slab<Registration>,
    bell: Arc<Bell>,
    bell_key: Key,
    /// Whether the bell is reported once for each ring, so that it need not be emptied.
    bell_is_edge: bool,
    /// Keys whose WRITE was reported since the last wait.
    reported: Vec<Key>,
    /// Keys with unread or unsent bytes that the edge-triggered selector will not report again.
    left: Vec<Key>,
    /// The trigger of new TCP connections.
    trigger: Trigger,
    /// Whether the selector reported a stale key.
    has_stale: bool,
    files: SystemFiles,
    /// Not used on systems whose providers cannot start children.
    #[cfg_attr(not(linux_like), allow(dead_code))]
    children: Children,
    began: Instant,
}

impl<S: Selector> Readiness<S> {
    /// The entry in a table of providers.
    pub(crate) const PROVIDER: Provider = Provider { name: S::NAME, description: S::DESCRIPTION, open: Self::open };

    fn open() -> io::Result<Box<dyn EventProvider>> {
        let bell = Bell::new()?;
        let mut sources = Slab::new();
        let bell_key = sources.insert(Registration::watched(bell.fd()));
        let mut selector = S::new()?;
        let bell_is_edge = selector.add_bell(bell.fd(), bell_key)?;
        Ok(Box::new(Readiness {
            selector,
            sources,
            bell,
            bell_key,
            bell_is_edge,
            reported: Vec::new(),
            left: Vec::new(),
            trigger: if S::EDGES { Trigger::Edge } else { Trigger::Level },
            has_stale: false,
            files: SystemFiles,
            children: Children::default(),
            began: Instant::now(),
        }))
    }

    /// Gives a registration its key. If the selector refuses the descriptor, the registration is dropped.
    fn insert(&mut self, source: Registration, wanted: Watch) -> io::Result<Key> {
        let key = self.sources.insert(source);
        let outcome = self.enter(key, wanted);
        if outcome.is_err() {
            self.sources.remove(key);
        }
        outcome.map(|()| key)
    }

    fn enter(&mut self, key: Key, wanted: Watch) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        self.selector.add(source.fd(), key)?;
        want(&mut self.selector, source, key, wanted)
    }

    /// Retires a key, and returns its registration.
    fn remove(&mut self, key: Key) -> Option<Registration> {
        let source = self.sources.remove(key)?;
        self.selector.remove(source.fd(), key, source.armed);
        Some(source)
    }

    /// Disarms reported WRITEs that were not wanted again. If they stayed armed, they would interrupt the wait at once.
    fn disarm_reported(&mut self) -> io::Result<()> {
        for key in self.reported.drain(..) {
            let Some(source) = self.sources.get_mut(key) else { continue };
            if source.armed.contains(Watch::WRITE) && !source.wanted.contains(Watch::WRITE) {
                arm(&mut self.selector, source, key)?;
            }
        }
        Ok(())
    }

    /// Re-arms descriptors whose owners left bytes behind and still want these bytes, so that the selector reports the
    /// descriptors again.
    fn rearm_left(&mut self) -> io::Result<()> {
        for key in self.left.drain(..) {
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.rearm_pending = false;
            let unsent = mem::take(&mut source.unsent) && source.wanted.contains(Watch::WRITE);
            if unsent || source.unread && source.wanted.contains(Watch::READ) {
                self.selector.modify(source.fd(), key, source.armed, source.armed, source.trigger)?;
            }
        }
        Ok(())
    }

    /// Switches to level-triggered watching, so that the selector itself knows at any time what is ready.
    fn watch_by_level(&mut self) -> io::Result<()> {
        self.trigger = Trigger::Level;
        for (key, source) in self.sources.iter_mut().filter(|(_, source)| source.trigger == Trigger::Edge) {
            source.trigger = Trigger::Level;
            self.selector.modify(source.fd(), key, source.armed, source.armed, Trigger::Level)?;
        }
        Ok(())
    }

    /// Rebuilds the selector from the registrations.
    fn rebuild_selector(&mut self) -> io::Result<()> {
        self.has_stale = false;
        self.selector.forget_all()?;
        for (key, source) in self.sources.iter() {
            if key == self.bell_key {
                self.selector.add_bell(source.fd(), key)?;
                continue;
            }
            self.selector.add(source.fd(), key)?;
            match self.selector.modify(source.fd(), key, Watch::empty(), source.armed, source.trigger) {
                // The owner has closed this watched descriptor, so no event of it can follow.
                Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Removes stale registrations by rebuilding the selector. A registration becomes stale when the owner of a watched
    /// descriptor closes it while a copy stays open. Rebuilding needs a spare descriptor. Without one a later wait
    /// tries again.
    fn purge_stale(&mut self) -> io::Result<()> {
        match self.rebuild_selector() {
            Err(error) if lacks_descriptors(&error) => self.has_stale = true,
            outcome => outcome?,
        }
        Ok(())
    }

    /// Reduces the selector's events to the readiness that the owners of the keys want. Does nothing if all events are
    /// plain READs.
    #[inline(never)]
    fn interpret(&mut self, events: &mut Events) {
        events.retain_mut(|event| is_plain(&mut self.sources, event) || self.interpret_one(event));
    }

    /// Returns whether the owner of the key wants any part of the event.
    #[inline(never)]
    fn interpret_one(&mut self, event: &mut Event) -> bool {
        if event.key == self.bell_key {
            if !self.bell_is_edge {
                self.bell.drain();
            }
            return false;
        }
        let Some(source) = self.sources.get_mut(event.key) else {
            self.has_stale = true;
            return false;
        };
        if event.ready == Ready::READ | Ready::WRITE && source.only_reads() {
            // WRITE is armed still. Its edge woke nothing, and disarming it would cost a call now and another one when
            // the next large answer arms it again.
            event.ready = Ready::READ;
            source.unread = true;
            return true;
        }
        if event.ready.contains(Ready::GONE) {
            source.wanted = Watch::empty();
        }
        let is_lost = is_lost(source, event.ready);
        if is_lost {
            // A loss is reported once.
            source.wanted -= Watch::LOSS;
        }
        if event.ready.intersects(Ready::HANGUP | Ready::ERROR) {
            source.stops_short |= event.ready.contains(Ready::HANGUP);
            // The next read or write takes the bytes before the hang-up, then the hang-up or the error.
            event.ready |= source.armed.ready();
        }
        let is_unwanted = event.ready.intersects((source.armed - source.wanted).ready());
        if is_unwanted || is_lost || event.ready.contains(Ready::GONE) {
            // An error means that the descriptor is closed, so no event of it can follow.
            let _ = arm(&mut self.selector, source, event.key);
        }
        source.stops_short |= event.ready.contains(Ready::URGENT);
        source.unread |= event.ready.contains(Ready::READ);
        event.ready -= (!source.wanted).ready() | Ready::URGENT;
        if event.ready.contains(Ready::WRITE) && !source.is_watched() {
            source.wanted -= Watch::WRITE;
            if source.trigger == Trigger::Level {
                self.reported.push(event.key);
            }
        }
        is_lost || event.ready.intersects(Ready::READ | Ready::WRITE | Ready::GONE)
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
        if !self.reported.is_empty() {
            self.disarm_reported()?;
        }
        if !self.left.is_empty() {
            self.rearm_left()?;
        }
        let timeout = if self.bell.fall_asleep() { timeout } else { Some(Duration::ZERO) };
        let (sources, mut all_plain) = (&mut self.sources, true);
        let outcome = self.selector.wait(timeout, events, |event| {
            if !is_plain(sources, event) {
                all_plain = false;
            }
        });
        self.bell.wake_up();
        outcome?;
        if !all_plain {
            self.interpret(events);
        }
        if self.has_stale { self.purge_stale() } else { Ok(()) }
    }

    fn host_handle(&mut self) -> Option<RawWaitable> {
        let handle = self.selector.host_fd()?;
        self.bell.watch();
        self.watch_by_level().ok()?;
        Some(handle)
    }

    /// Connections that were opened before this call stay level-triggered.
    fn release_host_handle(&mut self) {
        self.bell.unwatch();
        self.trigger = if S::EDGES { Trigger::Edge } else { Trigger::Level };
        self.selector.release_host_fd();
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // The child drops its copy of the descriptor. The parent's registrations stay.
        self.rebuild_selector()
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

    fn pipes(&mut self) -> Option<&mut dyn Pipes> {
        Some(self)
    }

    fn descriptor_passing(&mut self) -> Option<&mut dyn DescriptorPassing> {
        Some(self)
    }

    #[cfg(linux_like)]
    fn processes(&mut self) -> Option<&mut dyn crate::seam::Processes> {
        Some(self)
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }

    fn filesystem(&mut self) -> Option<&mut dyn Filesystem> {
        Some(&mut self.files)
    }
}

/// Whether the owner gets the event as it is, as nearly every event: a READ of a registration that only reads.
#[inline(always)]
fn is_plain(sources: &mut Slab<Registration>, event: &Event) -> bool {
    if event.ready != Ready::READ {
        return false;
    }
    let Some(source) = sources.get_mut(event.key).filter(|source| source.only_reads()) else { return false };
    source.unread = true;
    true
}

/// Whether the event is the loss of a connection that is not read. While the selector is still armed for READ, a
/// hang-up may be only the end of the stream.
fn is_lost(source: &Registration, ready: Ready) -> bool {
    let has_hung_up = ready.contains(Ready::HANGUP) && !source.armed.contains(Watch::READ);
    source.wanted.contains(Watch::LOSS) && (ready.contains(Ready::ERROR) || has_hung_up)
}

/// Sets the wanted readiness, and arms it if it exceeds the armed one.
fn want<S: Selector>(selector: &mut S, source: &mut Registration, key: Key, wanted: Watch) -> io::Result<()> {
    source.wanted = wanted;
    if source.armed.covers(wanted) { Ok(()) } else { arm(selector, source, key) }
}

/// Queues an edge-triggered registration to be re-armed by the next wait.
#[inline]
fn rearm_later(left: &mut Vec<Key>, source: &mut Registration, key: Key) {
    if source.trigger == Trigger::Edge && !source.rearm_pending {
        source.rearm_pending = true;
        left.push(key);
    }
}

/// Arms exactly the wanted readiness.
fn arm<S: Selector>(selector: &mut S, source: &mut Registration, key: Key) -> io::Result<()> {
    if source.armed != source.wanted {
        selector.modify(source.fd(), key, source.armed, source.wanted, source.trigger)?;
        source.armed = source.wanted;
    }
    Ok(())
}

fn lacks_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|scarce| error.raw_os_error() == Some(scarce.raw_os_error()))
}
