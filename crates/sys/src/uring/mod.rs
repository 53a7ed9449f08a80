//! io_uring(7): a provider to which the kernel reports completed operations instead of readiness.
//!
//! ```text
//!   set_reading --> a multishot receive. Its data is kept under the key until `receive` asks.
//!                   For a connection with bulk to read (`Pace`): a multishot poll, and `receive` asks the system
//!                   While reading is off: a multishot poll for errors and hang-ups
//!   send        --> small: into a batch that leaves with the next enter. Large: at once, by a call of its own
//!   watch       --> a one-shot poll, repeated after each report: level-triggered. The same for a port, which accepts
//!                   no connection before `accept` asks
//!   wait        --> one io_uring_enter: submits everything, waits, and has the kernel make completions
//! ```
//!
//! Small and very large data is copied into the caller's buffer, and data of other sizes is lent. A small ring of
//! buffers that is emptied at once stays in the cache. A connection that is not read holds no buffer of the ring.
//!
//! The rules that keep it sound:
//! - an operation is in flight until its last completion (`operation.rs`); a cancel frees nothing;
//! - during multishot operations the kernel writes only to the ring's buffers, which live until all operations have
//!   ended or, if that is impossible, for ever;
//! - sends end within the enter that submits them (`batch.rs`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, Moment, Slab};

use crate::filesystem::SystemFiles;
use crate::io_handle::RawWaitable;
use crate::process::Children;
use crate::providers::Provider;
use crate::seam::{
    Adoption, Clock, Datagrams, DescriptorPassing, Event, EventProvider, Events, Filesystem, Pipes, Processes, Sockets,
    Streams, Watches,
};
use crate::socket::table::stale;
use crate::waker::{Bell, Waker};

mod arming;
mod batch;
mod buffers;
mod completing;
mod datagrams;
mod descriptor_passing;
mod draining;
mod ending;
mod operation;
mod pipes;
mod polling;
mod processes;
mod ring;
#[cfg(test)]
mod schedules;
mod slot;
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod watches;

use batch::Batch;
use buffers::Buffers;
use draining::Draining;
use operation::UnderWay;
use ring::{Completion, Entered, Ring, Setup};
use slot::Slot;

/// The longest wait that is asked of the kernel: 24.8 days, as for the other providers.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// The number of times that a non-blocking wait submits entries that its own completions caused.
const PASSES: u32 = 4;

/// The number of times that the kernel may refuse entries for lack of memory or room before the loop gives up.
const REFUSALS: u32 = 1000;

/// The provider on io_uring.
pub(crate) struct Uring {
    /// The ring. It is closed before the sources and the buffers are dropped.
    ring: Ring,
    /// A copy of the ring's descriptor for a host loop.
    host_copy: Option<OwnedFd>,
    sources: Slab<Slot>,
    under_way: UnderWay,
    draining: Slab<Draining>,
    batch: Batch,
    buffers: Buffers,
    /// Keys that may have events to report, or operations to arm.
    due: Vec<Key>,
    /// The keys taken from `due`, while they are examined.
    examined: Vec<Key>,
    /// Keys whose multishot operation should be cancelled.
    unwanted: Vec<Key>,
    completions: Vec<Completion>,
    bell: Arc<Bell>,
    bell_is_polled: bool,
    rung: bool,
    /// Whether a receive ended because the ring had no buffer.
    ran_dry: bool,
    host: Host,
    /// Whether the provider is being dropped. If so, no operation may be armed.
    ending: bool,
    files: SystemFiles,
    children: Children,
    began: Instant,
}

/// Whether a host loop watches the ring. If so, everything must be submitted before the host loop sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    None,
    /// The host loop may sleep, so each request is submitted when it is made.
    MaySleep,
    /// The turn is not over, so requests are collected until `submit`.
    WaitsForSubmit,
}

impl Uring {
    /// The entry in a table of providers.
    pub(crate) const PROVIDER: Provider =
        Provider { name: "uring", description: "io_uring(7), Linux 6.1, for many busy connections", open: Uring::open };

    /// # Errors
    /// The reason why io_uring does not work here.
    fn open() -> io::Result<Box<dyn EventProvider>> {
        Ok(Box::new(Uring::on(Ring::open(Setup::Deferred)?)?))
    }

    fn on(ring: Ring) -> io::Result<Uring> {
        let buffers = Buffers::new(&ring)?;
        Ok(Uring {
            ring,
            host_copy: None,
            sources: Slab::new(),
            under_way: UnderWay::default(),
            draining: Slab::new(),
            batch: Batch::default(),
            buffers,
            due: Vec::new(),
            examined: Vec::new(),
            unwanted: Vec::new(),
            completions: Vec::new(),
            bell: Bell::new()?,
            bell_is_polled: false,
            rung: false,
            ran_dry: false,
            host: Host::None,
            ending: false,
            files: SystemFiles,
            children: Children::default(),
            began: Instant::now(),
        })
    }

    fn source_mut(&mut self, key: Key) -> io::Result<&mut Slot> {
        self.sources.get_mut(key).ok_or_else(stale)
    }

    /// Queues a source for the next wait.
    fn mark_due(&mut self, key: Key) {
        if let Some(source) = self.sources.get_mut(key) {
            if !std::mem::replace(&mut source.due, true) {
                self.due.push(key);
            }
        }
    }

    /// Submits all entries, and takes the completions in. With a `wait`, blocks until there is a completion.
    fn enter(&mut self, wait: Option<Option<Duration>>) -> io::Result<Entered> {
        self.batch.push(&mut self.ring);
        let mut wait = wait;
        let mut refusals = 0;
        loop {
            let this_wait = if self.ring.fits() { wait } else { None };
            let entered = match self.ring.enter(this_wait) {
                Ok(entered) => entered,
                Err(error) if self.ring.is_anothers(&error) => {
                    self.downgrade_ring()?;
                    self.batch.push(&mut self.ring);
                    // `downgrade_ring` took completions, so there may be events already.
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
            // Events of the first entries must not wait until the last entries are submitted.
            if self.take_completions() || this_wait.is_some() {
                wait = None;
            }
            if !self.ring.is_behind() && (wait.is_none() || entered == Entered::Interrupted) {
                self.batch.finish();
                return Ok(entered);
            }
        }
    }

    /// Submits everything while a host loop may sleep on the ring, because no wait follows that would submit it.
    fn submit_for_host(&mut self) -> io::Result<()> {
        if self.host == Host::MaySleep { self.submit_everything() } else { Ok(()) }
    }

    /// Collects the events to report, and arms operations.
    fn collect(&mut self, events: &mut Events) {
        self.grow_if_dry();
        std::mem::swap(&mut self.due, &mut self.examined);
        for index in 0..self.examined.len() {
            let key = self.examined[index];
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.due = false;
            let ready = source.ready();
            if !ready.is_empty() {
                source.reported();
                events.push(Event { key, ready });
                // If the owner leaves the data, the next wait reports it again.
                self.mark_due(key);
            }
            // A reported descriptor is polled again only by the next wait, because a poll now would interrupt this
            // wait.
            if ready.is_empty() {
                self.arm(key);
            }
        }
        self.examined.clear();
    }

    /// Arms operations, and returns whether a source has an event to report already.
    fn rearm_due(&mut self) -> bool {
        std::mem::swap(&mut self.due, &mut self.examined);
        let mut found = false;
        for index in 0..self.examined.len() {
            let key = self.examined[index];
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.due = false;
            let ready = !source.ready().is_empty();
            found |= ready;
            self.arm(key);
            if ready {
                self.mark_due(key);
            }
        }
        self.examined.clear();
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
        Uring::PROVIDER.name
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
        let found = self.rearm_due() || self.rung;
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        let timeout = if self.bell.fall_asleep() && !found { timeout } else { Some(Duration::ZERO) };
        let outcome = self.wait_for_events(timeout, events);
        self.bell.wake_up();
        self.rung = false;
        if self.host != Host::None {
            self.host = Host::WaitsForSubmit;
        }
        outcome
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.host != Host::None {
            self.host = Host::MaySleep;
            return self.submit_everything();
        }
        if self.batch.is_empty() { Ok(()) } else { self.enter(None).map(drop) }
    }

    fn host_handle(&mut self) -> Option<RawWaitable> {
        if self.ring.setup() == Setup::Deferred {
            self.end_receives();
        }
        self.downgrade_ring().ok()?;
        self.bell.watch();
        self.host = Host::MaySleep;
        let host_copy = self.host_fd().ok()?;
        self.submit_everything().ok()?;
        Some(host_copy)
    }

    /// The ring stays without DEFER_TASKRUN, because operations in flight would be lost with it.
    fn release_host_handle(&mut self) {
        self.bell.unwatch();
        self.host = Host::None;
        self.host_copy = None;
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        self.bell.reopen_after_fork()?;
        self.sources.iter().for_each(|(_, source)| source.claim_file());
        // The parent sends the batch, so the child drops its copy.
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

    fn pipes(&mut self) -> Option<&mut dyn Pipes> {
        Some(self)
    }

    fn descriptor_passing(&mut self) -> Option<&mut dyn DescriptorPassing> {
        Some(self)
    }

    fn processes(&mut self) -> Option<&mut dyn Processes> {
        Some(self)
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }

    fn watches(&mut self) -> Option<&mut dyn Watches> {
        Some(self)
    }

    fn filesystem(&mut self) -> Option<&mut dyn Filesystem> {
        Some(&mut self.files)
    }
}

/// Returns whether an error goes away once the completion queue has been drained.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM))
}
