//! Loops of frames: one that sleeps for events, one that draws, and SDL's.

use std::ffi::{CStr, c_char, c_int};
use std::rc::Rc;
use std::sync::Once;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor};
use ropewalk_conformance::hosts::Hosted;

/// The time of a frame, at 60 Hz.
const FRAME: Duration = Duration::from_millis(16);

/// A toolkit that sleeps until there is an event in its queue.
struct Queue(Receiver<()>);

impl HostLoop for Queue {
    fn run(&self, guest: &Guest) {
        while guest.is_started() {
            self.iterate(guest, None);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        match delay.map_or_else(|| self.0.recv().map_err(Into::into), |delay| self.0.recv_timeout(delay)) {
            Ok(()) => guest.turn(Budget::default()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the guest has the sender"),
        }
    }
}

/// Makes `reactor` a guest of a loop that sleeps until an event.
pub fn sleeping(reactor: &Reactor) -> Hosted {
    let frame = ropewalk_frame::install(reactor).expect("a new reactor");
    let (queue, events) = channel();
    frame.sleeps_with(move || queue.send(()).unwrap_or_default()).expect("a thread starts");
    let host = Rc::new(Queue(events));
    frame.guest().set_host(host.clone());
    Hosted { guest: frame.guest().clone(), host }
}

/// Makes `reactor` a guest of a loop that draws frames.
pub fn drawing(reactor: &Reactor) -> Hosted {
    let frame = ropewalk_frame::install(reactor).expect("a new reactor");
    frame.draws_every(FRAME, |_| true).expect("a thread starts");
    Hosted { guest: frame.guest().clone(), host: Rc::new(frame) }
}

#[allow(non_snake_case)] // SDL's names
unsafe extern "C" {
    fn SDL_SetHint(name: *const c_char, value: *const c_char) -> c_int;
    fn SDL_Init(flags: u32) -> c_int;
}

/// `SDL_INIT_VIDEO`.
const VIDEO: u32 = 0x20;

fn set_hint(name: &CStr, value: &CStr) {
    // SAFETY: SDL copies both strings.
    unsafe { SDL_SetHint(name.as_ptr(), value.as_ptr()) };
}

/// Makes `reactor` a guest of SDL's queue, without a display.
///
/// SDL has one queue in a process. A reactor of a second thread is a guest of another queue.
pub fn sdl2(reactor: &Reactor) -> Hosted {
    // Threads of one specification may come at the same time, and SDL_Init is not made for that.
    static START: Once = Once::new();
    START.call_once(|| {
        set_hint(c"SDL_VIDEODRIVER", c"dummy");
        // SAFETY: nothing quits SDL in this process.
        let started = unsafe { SDL_Init(VIDEO) };
        assert_eq!(started, 0, "the dummy driver starts everywhere");
    });
    // SAFETY: a second thread is refused, and nothing quits SDL in this process.
    match unsafe { ropewalk_frame::sdl2::install(reactor) } {
        Ok(sdl) => Hosted { guest: sdl.guest().clone(), host: Rc::new(sdl) },
        Err(_) => sleeping(reactor),
    }
}
