//! HostLoop loops for a reactor: one that waits by poll(2), one that ticks like a game, and one that gets messages.
//!
//! Each is the least that such a loop needs, and as such an example of an adapter. Specifications run in them by
//! [`Subject::hosted`](crate::Subject::hosted).

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The time of a frame of [`TickLoop`].
const FRAME: Duration = Duration::from_millis(1);

/// The longest time that poll(2) is given.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs passes of `host` until the run has ended.
fn run(host: &dyn HostLoop, guest: &Guest) {
    while guest.is_started() {
        host.iterate(guest, None);
    }
}

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

/// A loop that makes a turn in each of its frames, and never asks when one is due.
pub struct TickLoop;

impl HostLoop for TickLoop {
    fn run(&self, guest: &Guest) {
        run(self, guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        thread::sleep(delay.unwrap_or(FRAME).min(FRAME));
        guest.turn(Budget::default());
    }
}

/// A loop that sleeps until it is sent a message.
pub struct MessageLoop(Receiver<()>);

impl HostLoop for MessageLoop {
    fn run(&self, guest: &Guest) {
        run(self, guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        match delay.map_or_else(|| self.0.recv().map_err(Into::into), |delay| self.0.recv_timeout(delay)) {
            Ok(()) => guest.turn(Budget::default()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the guest has the sender"),
        }
    }
}

/// A guest and the host that runs it.
pub struct Hosted {
    /// The guest, which the reactor is as long as this exists.
    pub guest: Guest,
    /// The host.
    pub host: Rc<dyn HostLoop>,
}

impl Hosted {
    fn new(guest: Guest, host: impl HostLoop + 'static) -> Hosted {
        let host = Rc::new(host);
        guest.set_host(host.clone());
        Hosted { guest, host }
    }

    /// Runs the host's loop inside a callback, as a modal dialog does.
    pub fn run_until(&self, done: impl Fn() -> bool) {
        while !done() {
            self.host.iterate(&self.guest, None);
        }
    }
}

fn new_guest(reactor: &Reactor) -> Guest {
    Guest::new(reactor).expect("a new reactor")
}

/// Makes `reactor` a guest of a [`PollLoop`].
pub fn poll_loop(reactor: &Reactor) -> Hosted {
    let guest = new_guest(reactor);
    // The descriptor is open before the specification counts its own.
    guest.handle().expect("a provider with a handle");
    Hosted::new(guest, PollLoop)
}

/// Makes `reactor` a guest of a [`TickLoop`].
pub fn tick_loop(reactor: &Reactor) -> Hosted {
    Hosted::new(new_guest(reactor), TickLoop)
}

/// Makes `reactor` a guest of a [`MessageLoop`]. Its provider waits in a thread.
pub fn message_loop(reactor: &Reactor) -> Hosted {
    let guest = new_guest(reactor);
    let (messages, received) = channel();
    guest.wait_in_thread(move || messages.send(()).unwrap_or_default()).expect("a thread starts");
    Hosted::new(guest, MessageLoop(received))
}
