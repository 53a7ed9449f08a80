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
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, Moment, Slab};

use crate::filesystem::SystemFiles;
use crate::io_handle::RawWaitable;
use crate::seam::{Adoption, Clock, Event, EventProvider, Events, Filesystem, Sockets, Streams, Watches};
use crate::socket::table::stale;
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
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod watches;

use batch::Batch;
use buffers::Buffers;
use lingering::Linger;
use operation::UnderWay;
use ring::{Completion, Entered, Ring, Setup};
use source::Source;

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
    files: SystemFiles,
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
            files: SystemFiles,
            began: Instant::now(),
        })
    }

    fn source_mut(&mut self, key: Key) -> io::Result<&mut Source> {
        self.sources.get_mut(key).ok_or_else(stale)
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
}

impl EventProvider for Uring {
    fn name(&self) -> &'static str {
        "uring"
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

    fn host_handle(&mut self) -> Option<RawWaitable> {
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

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // What was batched is the parent's to send.
        self.batch.reset(false);
        self.replace_ring(Ring::open(Setup::Deferred)?, false)
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

/// Refusals that pass when completions have been taken.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM))
}
