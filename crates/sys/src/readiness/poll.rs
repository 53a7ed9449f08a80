//! poll(2).
//!
//! The array for the system call is kept between waits, with the index of each key beside it. POLLHUP and POLLERR are
//! always reported. So a descriptor that is watched for nothing is not in the array, and one that is watched for its
//! loss has no other bits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use ropewalk_proto::{Key, SecondaryMap};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::selector::{Selector, Trigger, Watch};
use super::timeout::timespec;
use crate::seam::{Event, Events, Ready};

#[derive(Default)]
pub(crate) struct Poll {
    array: Vec<PollFd<'static>>,
    /// The key of each element of the array.
    keys: Vec<Key>,
    places: SecondaryMap<usize>,
}

impl Selector for Poll {
    const NAME: &'static str = "poll";

    const DESCRIPTION: &'static str = "poll(2), for a few hundred connections";

    fn new() -> io::Result<Poll> {
        Ok(Poll::default())
    }

    fn add(&mut self, _fd: BorrowedFd<'_>, _key: Key) -> io::Result<()> {
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: Key, _from: Watch, to: Watch, _trigger: Trigger) -> io::Result<()> {
        if to.is_empty() {
            self.leave(key);
        } else if let Some(&place) = self.places.get(key) {
            self.array[place] = element(fd, to);
        } else {
            self.places.insert(key, self.array.len());
            self.array.push(element(fd, to));
            self.keys.push(key);
        }
        Ok(())
    }

    fn remove(&mut self, _fd: BorrowedFd<'_>, key: Key, _from: Watch) {
        self.leave(key);
    }

    fn forget_all(&mut self) -> io::Result<()> {
        *self = Poll::default();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events, seen: impl FnMut(&Event)) -> io::Result<()> {
        let count = match poll(&mut self.array, timeout.map(timespec).as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            outcome => outcome?,
        };
        let ready = self.keys.iter().zip(&self.array).filter(|(_, element)| !element.revents().is_empty());
        let ready = ready.take(count).map(|(&key, element)| Event { key, ready: ready_of(element.revents()) });
        events.extend(ready.inspect(seen));
        Ok(())
    }

    fn host_fd(&mut self) -> Option<RawFd> {
        None
    }

    fn release_host_fd(&mut self) {}
}

impl Poll {
    pub(super) fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    fn leave(&mut self, key: Key) {
        let Some(place) = self.places.remove(key) else { return };
        self.array.swap_remove(place);
        self.keys.swap_remove(place);
        if let Some(&moved) = self.keys.get(place) {
            self.places.insert(moved, place);
        }
    }
}

fn element(fd: BorrowedFd<'_>, watch: Watch) -> PollFd<'static> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, watch.contains(Watch::READ));
    flags.set(PollFlags::OUT, watch.contains(Watch::WRITE));
    // SAFETY: the number is not -1, since it comes from a borrowed descriptor. Only poll(2) gets it, and returns
    // POLLNVAL if the owner closes it before `remove`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    PollFd::from_borrowed_fd(fd, flags)
}

fn ready_of(flags: PollFlags) -> Ready {
    let mut ready = Ready::empty();
    ready.set(Ready::READ, flags.contains(PollFlags::IN));
    ready.set(Ready::WRITE, flags.contains(PollFlags::OUT));
    ready.set(Ready::HANGUP, flags.contains(PollFlags::HUP));
    ready.set(Ready::ERROR, flags.contains(PollFlags::ERR));
    ready.set(Ready::GONE, flags.contains(PollFlags::NVAL));
    ready
}
