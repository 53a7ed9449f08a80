//! A loop that waits by poll(2).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Hosted, new_guest, run};

/// The longest time that poll(2) is given.
const LONGEST: Duration = Duration::from_secs(3600);

/// A loop that waits for the handle of its guest by poll(2).
pub struct PollLoop;

impl HostLoop for PollLoop {
    fn run(&self, guest: &Guest) {
        run(self, guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        let timeout = guest.timeout_within(delay).unwrap_or(LONGEST).min(LONGEST);
        let timeout = Timespec::try_from(timeout).expect("an hour at most");
        let handle = guest.handle().expect("a provider with a handle");
        // SAFETY: the reactor keeps the handle open.
        let handle = unsafe { BorrowedFd::borrow_raw(handle) };
        // An interrupted sleep is one that was short.
        let _ = poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&timeout));
        guest.turn(Budget::default());
    }
}

/// Makes `reactor` a guest of a [`PollLoop`].
pub fn poll_loop(reactor: &Reactor) -> Hosted {
    let guest = new_guest(reactor);
    // The descriptor is open before the specification counts its own.
    guest.handle().expect("a provider with a handle");
    Hosted::new(guest, PollLoop)
}
