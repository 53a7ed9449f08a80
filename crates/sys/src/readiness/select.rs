//! select(2), which takes only descriptors below FD_SETSIZE.
//!
//! A hang-up or an error makes a descriptor readable and writable. select(2) has no other report for them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use ropewalk_proto::{Key, SecondaryMap};
use rustix::event::{FdSetElement, FdSetIter, fd_set_insert, fd_set_num_elements, select};
use rustix::io::{Errno, fcntl_getfd};

use super::selector::{Selector, Trigger};
use super::timeout::timespec;
use crate::seam::{Event, Events, Interest, Ready};

const LIMIT: RawFd = libc::FD_SETSIZE as RawFd;

pub(crate) struct Select {
    /// The descriptors with an interest.
    entries: Vec<Entry>,
    places: SecondaryMap<usize>,
    reading: Vec<FdSetElement>,
    writing: Vec<FdSetElement>,
    /// The result of one call, by descriptor number. The map is empty between calls.
    found: Vec<Ready>,
}

struct Entry {
    fd: RawFd,
    key: Key,
    interest: Interest,
}

impl Selector for Select {
    const NAME: &'static str = "select";

    const DESCRIPTION: &'static str = "select(2), for descriptors below 1024";

    fn new() -> io::Result<Select> {
        let blank = vec![FdSetElement::default(); fd_set_num_elements(LIMIT as usize, LIMIT)];
        let found = vec![Ready::empty(); libc::FD_SETSIZE];
        Ok(Select { entries: Vec::new(), places: SecondaryMap::new(), reading: blank.clone(), writing: blank, found })
    }

    fn add(&mut self, fd: BorrowedFd<'_>, _key: Key) -> io::Result<()> {
        match fd.as_raw_fd() {
            fd if fd < LIMIT => Ok(()),
            fd => Err(beyond_limit(fd)),
        }
    }

    fn modify(
        &mut self,
        fd: BorrowedFd<'_>,
        key: Key,
        _from: Interest,
        to: Interest,
        _trigger: Trigger,
    ) -> io::Result<()> {
        let entry = Entry { fd: fd.as_raw_fd(), key, interest: to };
        if to.is_empty() {
            self.leave(key);
        } else if let Some(&place) = self.places.get(key) {
            self.entries[place] = entry;
        } else {
            self.places.insert(key, self.entries.len());
            self.entries.push(entry);
        }
        Ok(())
    }

    fn remove(&mut self, _fd: BorrowedFd<'_>, key: Key, _from: Interest) {
        self.leave(key);
    }

    fn forget_all(&mut self) -> io::Result<()> {
        self.entries.clear();
        self.places = SecondaryMap::new();
        Ok(())
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Events,
        interpret: impl FnMut(Event) -> Event,
    ) -> io::Result<()> {
        let bound = self.fill_sets();
        // SAFETY: every number in the sets is below `bound`, and `bound` is at most LIMIT, for which both sets are
        // large enough. The sources of these entries own or watch the descriptors. If an owner has closed one,
        // select(2) returns EBADF.
        let outcome = unsafe {
            select(bound, Some(&mut self.reading), Some(&mut self.writing), None, timeout.map(timespec).as_ref())
        };
        match outcome {
            Err(Errno::INTR) => {}
            Err(Errno::BADF) => self.report_closed(events, interpret),
            outcome => {
                outcome?;
                self.report_ready(events, interpret);
            }
        }
        Ok(())
    }

    fn host_fd(&self) -> Option<RawFd> {
        None
    }
}

impl Select {
    fn leave(&mut self, key: Key) {
        let Some(place) = self.places.remove(key) else { return };
        self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    /// Puts every entry into the sets that it wants, and returns the highest number plus one.
    fn fill_sets(&mut self) -> RawFd {
        self.reading.fill(FdSetElement::default());
        self.writing.fill(FdSetElement::default());
        let mut bound = 0;
        for entry in &self.entries {
            if entry.interest.contains(Interest::READ) {
                fd_set_insert(&mut self.reading, entry.fd);
            }
            if entry.interest.contains(Interest::WRITE) {
                fd_set_insert(&mut self.writing, entry.fd);
            }
            bound = bound.max(entry.fd + 1);
        }
        bound
    }

    fn report_ready(&mut self, events: &mut Events, mut interpret: impl FnMut(Event) -> Event) {
        for (set, ready) in [(&self.reading, Ready::READ), (&self.writing, Ready::WRITE)] {
            FdSetIter::new(set).for_each(|fd| self.found[fd as usize] |= ready);
        }
        for entry in &self.entries {
            // Two keys may watch one descriptor, each with its own interest.
            let ready = self.found[entry.fd as usize] & entry.interest.into();
            if !ready.is_empty() {
                events.push(interpret(Event { key: entry.key, ready }));
            }
        }
        self.found.fill(Ready::empty());
    }

    /// Reports all closed descriptors. A single closed descriptor makes the whole call fail, and the error does not
    /// name the descriptor.
    fn report_closed(&self, events: &mut Events, mut interpret: impl FnMut(Event) -> Event) {
        for entry in &self.entries {
            // SAFETY: the number is not negative, since it came from a borrowed descriptor. fcntl(2) returns EBADF if
            // it is closed, which is the question here.
            let fd = unsafe { BorrowedFd::borrow_raw(entry.fd) };
            if fcntl_getfd(fd) == Err(Errno::BADF) {
                events.push(interpret(Event { key: entry.key, ready: Ready::GONE }));
            }
        }
    }
}

fn beyond_limit(fd: RawFd) -> io::Error {
    let message = format!(
        "select cannot watch descriptor {fd}, its limit is {}: choose another reactor such as poll, or open fewer files",
        LIMIT - 1
    );
    io::Error::other(message)
}
