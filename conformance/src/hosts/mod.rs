//! Host loops for a reactor: one that waits by poll(2), one that ticks like a game, and one that gets messages.
//!
//! Each is the least that such a loop needs, and as such an example of an adapter. Specifications run in them by
//! [`Subject::hosted`](crate::Subject::hosted).

#[cfg(unix)]
mod poll_loop;

use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor};

#[cfg(unix)]
pub use poll_loop::{PollLoop, poll_loop};

/// The time of a frame of [`TickLoop`].
const FRAME: Duration = Duration::from_millis(1);

/// Runs passes of `host` until the run has ended.
fn run(host: &dyn HostLoop, guest: &Guest) {
    while guest.is_started() {
        host.iterate(guest, None);
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
