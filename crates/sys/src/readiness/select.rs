//! select(2), which takes only descriptors below FD_SETSIZE.
//!
//! A hang-up or an error makes a descriptor readable and writable. select(2) has no other report for them. So
//! connections that are watched only for their loss are looked at by poll(2), twice a second, and end no wait
//! otherwise.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, SecondaryMap};
use rustix::event::{FdSetElement, FdSetIter, fd_set_insert, fd_set_num_elements, select};
use rustix::io::{Errno, fcntl_getfd};

use super::poll::Poll;
use super::selector::{Selector, Trigger, Watch};
use super::timeout::timespec;
use crate::seam::{Event, Events, Ready};

const LIMIT: RawFd = libc::FD_SETSIZE as RawFd;

/// The time between two looks at the descriptors whose loss select(2) may miss.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Select {
    /// The descriptors that are watched for reading or writing.
    entries: Vec<Entry>,
    /// The descriptors that are not watched for reading, so that select(2) may miss their loss.
    lost: Poll,
    next_look: Instant,
    places: SecondaryMap<usize>,
    reading: Vec<FdSetElement>,
    writing: Vec<FdSetElement>,
    /// The result of one call, by descriptor number. The map is empty between calls.
    found: Vec<Ready>,
}

struct Entry {
    fd: RawFd,
    key: Key,
    watch: Watch,
}

impl Selector for Select {
    const NAME: &'static str = "select";

    const DESCRIPTION: &'static str = "select(2), for descriptors below 1024";

    fn new() -> io::Result<Select> {
        let blank = vec![FdSetElement::default(); fd_set_num_elements(LIMIT as usize, LIMIT)];
        let found = vec![Ready::empty(); libc::FD_SETSIZE];
        Ok(Select {
            entries: Vec::new(),
            lost: Poll::default(),
            next_look: Instant::now(),
            places: SecondaryMap::new(),
            reading: blank.clone(),
            writing: blank,
            found,
        })
    }

    fn add(&mut self, fd: BorrowedFd<'_>, _key: Key) -> io::Result<()> {
        match fd.as_raw_fd() {
            fd if fd < LIMIT => Ok(()),
            fd => Err(beyond_limit(fd)),
        }
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch, to: Watch, trigger: Trigger) -> io::Result<()> {
        self.remove(fd, key, from);
        if looks_for_loss(to) {
            self.lost.modify(fd, key, Watch::empty(), Watch::LOSS, trigger)?;
        }
        if !(to - Watch::LOSS).is_empty() {
            self.places.insert(key, self.entries.len());
            self.entries.push(Entry { fd: fd.as_raw_fd(), key, watch: to });
        }
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch) {
        if looks_for_loss(from) {
            self.lost.remove(fd, key, Watch::LOSS);
        }
        let Some(place) = self.places.remove(key) else { return };
        self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    fn forget_all(&mut self) -> io::Result<()> {
        self.entries.clear();
        self.places = SecondaryMap::new();
        self.lost.forget_all()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events, mut seen: impl FnMut(&Event)) -> io::Result<()> {
        if self.lost.is_empty() {
            return self.wait_once(timeout, events, &mut seen).map(drop);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.look_if_due(events, &mut seen)?;
            let now = Instant::now();
            let until_look = self.next_look.saturating_duration_since(now);
            let left = deadline.map_or(until_look, |deadline| until_look.min(deadline.saturating_duration_since(now)));
            let left = if events.is_empty() { left } else { Duration::ZERO };
            let is_over = self.wait_once(Some(left), events, &mut seen)?;
            if is_over || !events.is_empty() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(());
            }
        }
    }

    fn host_fd(&mut self) -> Option<RawFd> {
        None
    }

    fn release_host_fd(&mut self) {}
}

impl Select {
    /// Waits in one call. Returns whether the wait is over even if nothing is ready: it was interrupted.
    fn wait_once(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Events,
        seen: &mut impl FnMut(&Event),
    ) -> io::Result<bool> {
        let bound = self.fill_sets();
        // SAFETY: every number in the sets is below `bound`, and `bound` is at most LIMIT, for which both sets are
        // large enough. The sources of these entries own or watch the descriptors. If an owner has closed one,
        // select(2) returns EBADF.
        let outcome = unsafe {
            select(bound, Some(&mut self.reading), Some(&mut self.writing), None, timeout.map(timespec).as_ref())
        };
        match outcome {
            Err(Errno::INTR) => return Ok(true),
            Err(Errno::BADF) => self.report_closed(events, seen),
            outcome => {
                outcome?;
                self.report_ready(events, seen);
            }
        }
        Ok(false)
    }

    /// Reports the descriptors that are not watched for reading and have been lost, at most twice a second.
    fn look_if_due(&mut self, events: &mut Events, seen: &mut impl FnMut(&Event)) -> io::Result<()> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK_EVERY;
        self.lost.wait(Some(Duration::ZERO), events, seen)
    }

    /// Puts every entry into the sets that it wants, and returns the highest number plus one.
    fn fill_sets(&mut self) -> RawFd {
        self.reading.fill(FdSetElement::default());
        self.writing.fill(FdSetElement::default());
        let mut bound = 0;
        for entry in &self.entries {
            if entry.watch.contains(Watch::READ) {
                fd_set_insert(&mut self.reading, entry.fd);
            }
            if entry.watch.contains(Watch::WRITE) {
                fd_set_insert(&mut self.writing, entry.fd);
            }
            bound = bound.max(entry.fd + 1);
        }
        bound
    }

    fn report_ready(&mut self, events: &mut Events, seen: &mut impl FnMut(&Event)) {
        for (set, ready) in [(&self.reading, Ready::READ), (&self.writing, Ready::WRITE)] {
            FdSetIter::new(set).for_each(|fd| self.found[fd as usize] |= ready);
        }
        for entry in &self.entries {
            // Two keys may watch one descriptor, each for its own readiness.
            let ready = self.found[entry.fd as usize] & entry.watch.ready();
            if !ready.is_empty() {
                report(Event { key: entry.key, ready }, events, seen);
            }
        }
        self.found.fill(Ready::empty());
    }

    /// Reports all closed descriptors. A single closed descriptor makes the whole call fail, and the error does not
    /// name the descriptor.
    fn report_closed(&self, events: &mut Events, seen: &mut impl FnMut(&Event)) {
        for entry in &self.entries {
            // SAFETY: the number is not negative, since it came from a borrowed descriptor. fcntl(2) returns EBADF if
            // it is closed, which is the question here.
            let fd = unsafe { BorrowedFd::borrow_raw(entry.fd) };
            if fcntl_getfd(fd) == Err(Errno::BADF) {
                report(Event { key: entry.key, ready: Ready::GONE }, events, seen);
            }
        }
    }
}

/// Whether select(2) itself may miss the loss of a descriptor: a hang-up makes it readable, but not writable.
fn looks_for_loss(watch: Watch) -> bool {
    !watch.is_empty() && !watch.contains(Watch::READ)
}

fn report(event: Event, events: &mut Events, seen: &mut impl FnMut(&Event)) {
    seen(&event);
    events.push(event);
}

fn beyond_limit(fd: RawFd) -> io::Error {
    let message = format!(
        "select cannot watch descriptor {fd}, its limit is {}: choose another reactor such as poll, or open fewer \
         files",
        LIMIT - 1
    );
    io::Error::other(message)
}
