//! The functions of `shim.cpp`, and the object of Qt that they work on.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `Host` of `shim.cpp`.
#[repr(C)]
struct Host {
    _opaque: [u8; 0],
    _not_send: PhantomData<*mut ()>,
}

pub(super) type Due = unsafe extern "C" fn(data: *const c_void, event: bool);

unsafe extern "C" {
    fn ropewalk_qt_is_here() -> bool;
    fn ropewalk_qt_start();
    safe fn ropewalk_qt_new() -> NonNull<Host>;
    fn ropewalk_qt_watch(host: NonNull<Host>, handle: isize);
    fn ropewalk_qt_set_due(host: NonNull<Host>, due: Option<Due>, data: *const c_void);
    fn ropewalk_qt_enable(host: NonNull<Host>, on: bool);
    fn ropewalk_qt_sleep(host: NonNull<Host>, milliseconds: c_int);
    fn ropewalk_qt_stop_timer(host: NonNull<Host>);
    fn ropewalk_qt_post(host: NonNull<Host>);
    fn ropewalk_qt_run(host: NonNull<Host>);
    fn ropewalk_qt_end(host: NonNull<Host>);
    fn ropewalk_qt_pass(host: NonNull<Host>, milliseconds: c_int);
    fn ropewalk_qt_delete(host: NonNull<Host>);
}

/// Held while the application object is looked at, because another thread may create it at the same time.
static APPLICATION: Mutex<()> = Mutex::new(());

/// Returns whether the application object belongs to this thread.
pub(super) fn is_here() -> bool {
    let _held = APPLICATION.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: an object that Rust creates is complete, because of the lock, and is never deleted. A program that creates
    // its own does so before its first thread, as Qt demands.
    unsafe { ropewalk_qt_is_here() }
}

/// Creates an application object, unless the process has one.
pub(super) fn start() {
    let _held = APPLICATION.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the lock lets one thread create it.
    unsafe { ropewalk_qt_start() };
}

/// Qt's object: a timer, and perhaps a notifier. It is used in its own thread only, because it is not `Send`.
pub(super) struct Object {
    host: NonNull<Host>,
    poster: Poster,
}

/// Posts an event to the object, from any thread.
#[derive(Clone)]
pub(super) struct Poster(Arc<Mutex<Option<Posted>>>);

struct Posted(NonNull<Host>);

// SAFETY: the pointer is only used to post an event, which Qt allows in any thread.
unsafe impl Send for Posted {}

impl Poster {
    pub(super) fn post(&self) {
        // The lock is held, so that the object is not deleted meanwhile.
        if let Some(Posted(host)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the object exists as long as the poster has it.
            unsafe { ropewalk_qt_post(*host) };
        }
    }
}

impl Object {
    /// The thread has an application object.
    pub(super) fn new() -> Object {
        let host = ropewalk_qt_new();
        Object { host, poster: Poster(Arc::new(Mutex::new(Some(Posted(host))))) }
    }

    pub(super) fn poster(&self) -> Poster {
        self.poster.clone()
    }

    /// Watches the handle for reading, once it is enabled.
    pub(super) fn watch(&self, handle: RawFd) {
        // SAFETY: the object exists as long as this. A notifier of a closed handle does nothing.
        unsafe { ropewalk_qt_watch(self.host, handle as isize) };
    }

    /// Sets the function that the timer and the notifier call.
    ///
    /// # Safety
    /// `data` is what `due` expects until [`silence`](Object::silence) is called.
    pub(super) unsafe fn set_due(&self, due: Due, data: *const c_void) {
        // SAFETY: the object exists as long as this; the rest is the caller's promise.
        unsafe { ropewalk_qt_set_due(self.host, Some(due), data) };
    }

    /// Calls nothing from now on.
    pub(super) fn silence(&self) {
        self.enable(false);
        self.stop_timer();
        // SAFETY: the object exists as long as this.
        unsafe { ropewalk_qt_set_due(self.host, None, std::ptr::null()) };
    }

    pub(super) fn enable(&self, on: bool) {
        // SAFETY: the object exists as long as this.
        unsafe { ropewalk_qt_enable(self.host, on) };
    }

    pub(super) fn sleep(&self, milliseconds: i32) {
        // SAFETY: the object exists as long as this.
        unsafe { ropewalk_qt_sleep(self.host, milliseconds) };
    }

    pub(super) fn stop_timer(&self) {
        // SAFETY: the object exists as long as this.
        unsafe { ropewalk_qt_stop_timer(self.host) };
    }

    /// Runs Qt's loop until [`end`](Object::end), or until Qt leaves it.
    pub(super) fn run(&self) {
        // SAFETY: the object exists as long as this, which the caller borrows; no panic passes through Qt.
        unsafe { ropewalk_qt_run(self.host) };
    }

    pub(super) fn end(&self) {
        // SAFETY: the object exists as long as this.
        unsafe { ropewalk_qt_end(self.host) };
    }

    /// Makes one pass of Qt's loop, which sleeps for at most `delay`.
    pub(super) fn pass(&self, delay: Option<Duration>) {
        let milliseconds = delay.map_or(-1, super::milliseconds);
        // SAFETY: as for `run`.
        unsafe { ropewalk_qt_pass(self.host, milliseconds) };
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.poster.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // SAFETY: the object exists, and nothing has it after this.
        unsafe { ropewalk_qt_delete(self.host) };
    }
}
