//! An event source of Tcl whose functions are those of a Rust value.
//!
//! Before each sleep, Tcl asks each source how long the sleep may be (setup). After the sleep, it lets each source
//! queue its events (check). Then it serves the first event of the queue. A file handler queues its event itself, when
//! its descriptor is readable.
//!
//! ```text
//!   serves one event <--- queue <--- check, file handlers <--- sleeps <--- setup
//!        |                                                                  ^
//!        +------------- the next call of Tcl_DoOneEvent --------------------+
//! ```
//!
//! The loop may run inside of an event that is being served. Tcl skips that event then, so a source queues another one:
//! the mark "queued" is cleared before the event is served. Source: Notifier(3tcl).

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::Reactor;

use crate::ffi;

/// The functions of a source. They are called on the thread of its notifier.
pub(crate) trait Behaviour {
    /// Returns whether the descriptor is watched during the sleep.
    fn watches(&self) -> bool;

    /// Returns how long Tcl may sleep. `None` sets no limit.
    ///
    /// No callback of a program may be called in here, because it could run the loop.
    fn sleep(&self) -> Option<Duration>;

    /// Returns whether an event is due after the sleep. The rule of [`sleep`](Behaviour::sleep) applies.
    fn is_ready(&self) -> bool;

    /// Serves an event of the source. The loop may run in here.
    fn dispatch(&self);

    /// Serves an event of the descriptor. The loop may run in here.
    fn dispatch_readable(&self);
}

/// A source of this thread's notifier until it is dropped.
pub(crate) struct Source(Rc<Shared>);

/// The data of a source, to which Tcl has pointers.
struct Shared {
    behaviour: Rc<dyn Behaviour>,
    is_queued: Cell<bool>,
    /// The descriptor that is watched for reading.
    watched: Cell<Option<RawFd>>,
    /// Whether the descriptor has a handler.
    has_handler: Cell<bool>,
}

/// An event in Tcl's queue, in memory that Tcl frees.
#[repr(C)]
struct QueuedEvent {
    event: ffi::Event,
    /// A weak reference, so that an event may outlive its source.
    source: *const Shared,
}

/// A value of the reactor that removes the watch of the descriptor before the reactor closes it.
///
/// Tcl's notifier would spin on a descriptor that has been closed. If another file had its number by then, the handler
/// that is deleted later would be the one of that file.
#[derive(Default)]
struct Watch(RefCell<Weak<Shared>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(source) = self.0.take().upgrade() {
            source.unwatch();
        }
    }
}

/// Tcl compares these pointers when it deletes a source. A function may have several addresses, a static has one value.
static FUNCTIONS: (ffi::SourceFunction, ffi::SourceFunction) = (setup, check);

impl Source {
    /// Adds a source to the notifier of this thread. `watched` is a descriptor of the reactor. Tcl waits by select, so
    /// the number is less than FD_SETSIZE.
    pub(crate) fn attach(behaviour: Rc<dyn Behaviour>, reactor: &Reactor, watched: Option<RawFd>) -> Source {
        let shared = Rc::new(Shared {
            behaviour,
            is_queued: Cell::default(),
            watched: Cell::new(watched),
            has_handler: Cell::default(),
        });
        let data = Rc::as_ptr(&shared).cast_mut().cast();
        // SAFETY: the data lives until `drop` deletes the source.
        unsafe { ffi::Tcl_CreateEventSource(FUNCTIONS.0, FUNCTIONS.1, data) };
        reactor.extension(|_| Watch::default()).0.replace(Rc::downgrade(&shared));
        Source(shared)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.0.unwatch();
        let data = Rc::as_ptr(&self.0).cast_mut().cast();
        // SAFETY: `attach` created the source on this thread.
        unsafe { ffi::Tcl_DeleteEventSource(FUNCTIONS.0, FUNCTIONS.1, data) };
    }
}

impl Shared {
    /// Creates or deletes the handler of the descriptor.
    fn watch(self: &Rc<Shared>, watches: bool) {
        let Some(fd) = self.watched.get() else { return };
        match (watches, self.has_handler.replace(watches)) {
            (true, false) => {
                let data = Rc::as_ptr(self).cast_mut().cast();
                // SAFETY: the data lives until the handler is deleted, at the latest by `unwatch`.
                unsafe { ffi::Tcl_CreateFileHandler(fd, ffi::READABLE, readable, data) };
            }
            // SAFETY: the handler was created on this thread. An event of it that is queued is dropped.
            (false, true) => unsafe { ffi::Tcl_DeleteFileHandler(fd) },
            _ => {}
        }
    }

    /// Deletes the handler for good.
    fn unwatch(self: &Rc<Shared>) {
        self.watch(false);
        self.watched.take();
    }

    fn queue_event(self: &Rc<Shared>) {
        if self.is_queued.replace(true) {
            return;
        }
        let size = c_uint::try_from(size_of::<QueuedEvent>()).expect("a few words");
        // SAFETY: any size is allowed. Tcl aborts when there is no memory.
        let memory = unsafe { ffi::Tcl_Alloc(size) }.cast::<QueuedEvent>();
        let event = ffi::Event { serve, next: null_mut() };
        let source = Weak::into_raw(Rc::downgrade(self));
        let event = QueuedEvent { event, source };
        // SAFETY: the memory is new, large enough, and aligned for any type.
        unsafe { memory.write(event) };
        // SAFETY: Tcl owns the event from now on.
        unsafe { ffi::Tcl_QueueEvent(memory.cast(), ffi::QUEUE_TAIL) };
    }
}

/// Returns a source, which stays while a function of it drops the owner.
///
/// # Safety
/// `data` was made by [`Source::attach`], and the source is attached.
unsafe fn source(data: *mut c_void) -> Rc<Shared> {
    let shared = data.cast_const().cast::<Shared>();
    // SAFETY: the owner has a reference as long as the source is attached.
    unsafe { Rc::increment_strong_count(shared) };
    // SAFETY: the reference was counted just now.
    unsafe { Rc::from_raw(shared) }
}

/// Returns whether a pass of the loop serves descriptors. Tk waits for some events of windows with all others held
/// back.
fn serves_files(flags: c_int) -> bool {
    flags & ffi::FILE_EVENTS != 0
}

unsafe extern "C" fn setup(data: *mut c_void, flags: c_int) {
    // SAFETY: Tcl calls this for an attached source.
    let source = unsafe { source(data) };
    source.watch(source.behaviour.watches());
    if let Some(time) = source.behaviour.sleep().filter(|_| serves_files(flags)).map(block_time) {
        // SAFETY: the time is copied.
        unsafe { ffi::Tcl_SetMaxBlockTime(&raw const time) };
    }
}

unsafe extern "C" fn check(data: *mut c_void, flags: c_int) {
    // SAFETY: Tcl calls this for an attached source.
    let source = unsafe { source(data) };
    if serves_files(flags) && source.behaviour.is_ready() {
        source.queue_event();
    }
}

/// Serves an event, and returns whether the event may be freed.
unsafe extern "C" fn serve(event: *mut ffi::Event, flags: c_int) -> c_int {
    if !serves_files(flags) {
        return 0;
    }
    // SAFETY: `queue_event` made the event.
    let source = unsafe { (*event.cast::<QueuedEvent>()).source };
    // SAFETY: the event owns this reference, and is served once.
    if let Some(source) = unsafe { Weak::from_raw(source) }.upgrade() {
        source.is_queued.set(false);
        source.behaviour.dispatch();
    }
    1
}

unsafe extern "C" fn readable(data: *mut c_void, _mask: c_int) {
    // SAFETY: Tcl calls this for a handler that is not deleted, and so for an attached source.
    unsafe { source(data) }.behaviour.dispatch_readable();
}

/// Returns a time as Tcl takes it. A part of a microsecond is a whole one, so that no sleep ends too early and repeats
/// itself.
fn block_time(sleep: Duration) -> ffi::Time {
    // Tcl adds the time to that of day.
    const LONGEST: Duration = Duration::from_secs(100_000_000);
    let microseconds = sleep.min(LONGEST).as_nanos().div_ceil(1000);
    let part = |number: u128| c_long::try_from(number).expect("a few years at most");
    ffi::Time { seconds: part(microseconds / 1_000_000), microseconds: part(microseconds % 1_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_whole_microseconds() {
        let time = |seconds, microseconds| ffi::Time { seconds, microseconds };
        assert_eq!(block_time(Duration::ZERO), time(0, 0));
        assert_eq!(block_time(Duration::from_nanos(1)), time(0, 1));
        assert_eq!(block_time(Duration::from_nanos(1_999_999_001)), time(2, 0));
        assert_eq!(block_time(Duration::from_micros(2_000_003)), time(2, 3));
        assert_eq!(block_time(Duration::MAX), time(100_000_000, 0));
    }
}
