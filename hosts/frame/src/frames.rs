//! A loop that draws frames, and sleeps for events between them.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor};

use crate::bell::Bell;

/// The function that draws a frame, and returns whether the window is still open.
type Draw = Box<dyn FnMut(&Reactor) -> bool>;

/// The loop that [`Frame::draws_every`](crate::Frame::draws_every) installs.
pub(crate) struct FrameLoop {
    bell: Arc<Bell>,
    interval: Duration,
    next_frame: Cell<Instant>,
    draw: RefCell<Draw>,
}

impl FrameLoop {
    pub(crate) fn new(bell: Arc<Bell>, interval: Duration, draw: Draw) -> FrameLoop {
        FrameLoop { bell, interval, next_frame: Cell::new(Instant::now()), draw: RefCell::new(draw) }
    }

    fn draw_if_due(&self, guest: &Guest) {
        let (now, due) = (Instant::now(), self.next_frame.get());
        if now < due {
            return;
        }
        // Frames that are late are left out.
        let next = due.checked_add(self.interval).filter(|next| *next > now);
        self.next_frame.set(next.or(now.checked_add(self.interval)).unwrap_or(now));
        let Some(reactor) = guest.reactor() else { return };
        // The function that draws may itself run this loop.
        let Ok(mut draw) = self.draw.try_borrow_mut() else { return };
        if !draw(&reactor) {
            // An error means that the reactor is stopping.
            let _ = reactor.stop();
        }
    }
}

impl HostLoop for FrameLoop {
    fn run(&self, guest: &Guest) {
        while guest.is_started() {
            self.iterate(guest, None);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        // Without a run there are no frames.
        let frame = guest.is_started().then(|| self.next_frame.get().saturating_duration_since(Instant::now()));
        let limit = match (delay, frame) {
            (Some(delay), Some(frame)) => Some(delay.min(frame)),
            (delay, frame) => delay.or(frame),
        };
        if self.bell.wait(limit) {
            guest.turn(Budget::of(crate::BUDGET));
        }
        if guest.is_started() {
            self.draw_if_due(guest);
        }
    }
}
