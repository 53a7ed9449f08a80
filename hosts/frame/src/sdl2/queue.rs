//! SDL's queue of events, of which a process has one.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ropewalk::{Error, Result};

use super::ffi;

/// An `SDL_Event`.
#[repr(C, align(8))]
#[derive(Clone)]
pub struct Event([u8; Event::SIZE]);

impl Event {
    /// The size of the union, which is part of SDL's interface.
    const SIZE: usize = 56;

    fn of(event_type: u32) -> Event {
        let mut bytes = [0; Event::SIZE];
        bytes[..4].copy_from_slice(&event_type.to_ne_bytes());
        Event(bytes)
    }

    /// Returns the type: the member `type` of the union.
    pub fn event_type(&self) -> u32 {
        u32::from_ne_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Returns the event as a `const SDL_Event *`.
    pub fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("event_type", &self.event_type()).finish_non_exhaustive()
    }
}

/// The thread that handles events, and the number of its uses.
static OWNER: Mutex<Option<(ThreadId, usize)>> = Mutex::new(None);

/// A use of the queue by the thread that handles its events.
pub(super) struct Queue {
    /// Only one thread may wait for events.
    stays_on_thread: PhantomData<*mut ()>,
}

impl Queue {
    /// Starts SDL's events, if the program has not.
    ///
    /// # Errors
    /// If another thread handles the events, or SDL has an error.
    pub(super) fn of_this_thread() -> Result<Queue> {
        let mut owner = owner();
        let uses = match *owner {
            Some((thread, uses)) if thread == thread::current().id() => uses,
            None => 0,
            Some(_) => {
                return Err(Error::Failed(
                    "another thread handles the events of SDL: install the reactor on that thread".into(),
                ));
            }
        };
        // SAFETY: no other thread starts or quits SDL now, by the promise to `install`.
        if unsafe { ffi::SDL_InitSubSystem(ffi::INIT_EVENTS) } != 0 {
            return Err(sdl_error("cannot start the events of SDL"));
        }
        *owner = Some((thread::current().id(), uses + 1));
        Ok(Queue { stays_on_thread: PhantomData })
    }

    /// Waits for an event for at most `limit`. `None` sets no limit.
    pub(super) fn wait(&self, limit: Option<Duration>) -> Option<Event> {
        let mut event = Event::of(0);
        // SAFETY: the events are started, this is their thread, and the event has the size of the union.
        let has_come = unsafe { ffi::SDL_WaitEventTimeout(&mut event, milliseconds(limit)) } != 0;
        has_come.then_some(event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut owner = owner();
        *owner = owner.take().and_then(|(thread, uses)| (uses > 1).then_some((thread, uses - 1)));
        // SAFETY: the events were started once more by this value.
        unsafe { ffi::SDL_QuitSubSystem(ffi::INIT_EVENTS) };
    }
}

fn owner() -> MutexGuard<'static, Option<(ThreadId, usize)>> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the type of the event that wakes the loop.
///
/// # Errors
/// If the program has registered all types.
pub(super) fn wake_type() -> Result<u32> {
    static TYPE: OnceLock<u32> = OnceLock::new();
    // SAFETY: needs nothing.
    let registered = *TYPE.get_or_init(|| unsafe { ffi::SDL_RegisterEvents(1) });
    if registered == u32::MAX { Err(Error::Failed("SDL has no types of events left".into())) } else { Ok(registered) }
}

/// The end of the queue at which a thread posts wake-ups.
pub(super) struct Wakes {
    event_type: u32,
    /// Whether the events are still started. Held during a post, so that they stay so.
    is_open: Mutex<bool>,
}

impl Wakes {
    pub(super) fn new(event_type: u32) -> Wakes {
        Wakes { event_type, is_open: Mutex::new(true) }
    }

    /// Posts an event. May be called in any thread, and does nothing after `close`.
    pub(super) fn post(&self) {
        let is_open = self.is_open();
        if *is_open {
            // A full queue needs no further event to wake its loop.
            // SAFETY: the events are started until `close`. SDL copies the event, and locks its queue.
            unsafe { ffi::SDL_PushEvent(&mut Event::of(self.event_type)) };
        }
    }

    pub(super) fn close(&self) {
        *self.is_open() = false;
    }

    fn is_open(&self) -> MutexGuard<'_, bool> {
        self.is_open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sdl_error(what: &str) -> Error {
    // SAFETY: needs nothing.
    let text = unsafe { ffi::SDL_GetError() };
    // SAFETY: SDL returns a string of this thread.
    let text = unsafe { CStr::from_ptr(text) };
    Error::Failed(format!("{what}: {}", text.to_string_lossy()).into())
}

/// Returns a timeout in SDL's unit. A part of a millisecond is a whole one, so that no sleep ends too early and repeats
/// itself.
fn milliseconds(limit: Option<Duration>) -> c_int {
    let Some(limit) = limit else { return -1 };
    c_int::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_to_whole_milliseconds() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(15_600))), 16);
        assert_eq!(milliseconds(Some(Duration::MAX)), c_int::MAX);
    }

    #[test]
    fn an_event_begins_with_its_type() {
        assert_eq!(Event::of(0x8001).event_type(), 0x8001);
    }
}
