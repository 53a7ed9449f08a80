//! Tcl's notifier: the part of Tcl that waits for events. Each thread has one.

use std::marker::PhantomData;
use std::ptr::null;
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use ropewalk::{Error, Result};

use crate::ffi;

/// The notifier of this thread.
#[derive(Clone, Copy)]
pub(crate) struct Notifier {
    stays_on_thread: PhantomData<*mut ()>,
}

impl Notifier {
    /// Refers to the notifier of a thread that has an interpreter, with which Tcl has made the notifier.
    ///
    /// # Errors
    /// In a second thread of the process. Tcl can spin for ever in its list of notifiers, which threads join and leave.
    pub(crate) fn of_this_thread() -> Result<Notifier> {
        static FIRST: OnceLock<ThreadId> = OnceLock::new();
        let current = thread::current().id();
        if *FIRST.get_or_init(|| current) != current {
            return Err(Error::Failed("another thread of this process has had a reactor in Tcl's event loop".into()));
        }
        Ok(Notifier { stays_on_thread: PhantomData })
    }

    /// Makes the notifier of this thread, if there is none yet.
    ///
    /// # Errors
    /// As for [`of_this_thread`](Notifier::of_this_thread).
    pub(crate) fn initialize() -> Result<Notifier> {
        let notifier = Notifier::of_this_thread()?;
        // SAFETY: may be called any number of times. A null pointer leaves the name of the program as it is.
        unsafe { ffi::Tcl_FindExecutable(null()) };
        Ok(notifier)
    }

    /// Serves one event. If there is none and `may_sleep` is true, sleeps until there is one.
    pub(crate) fn handle_one_event(self, may_sleep: bool) {
        let flags = if may_sleep { 0 } else { ffi::DONT_WAIT };
        // SAFETY: this thread has a notifier. A call may be made in a callback of another one.
        unsafe { ffi::Tcl_DoOneEvent(flags) };
    }

    /// Makes the idle callbacks that wait, but not those that they add.
    pub(crate) fn make_idle_callbacks(self) {
        // SAFETY: as above.
        unsafe { ffi::Tcl_DoOneEvent(ffi::IDLE_EVENTS | ffi::DONT_WAIT) };
    }

    /// Returns a handle that wakes this notifier from any thread.
    pub(crate) fn alarm(self) -> Alarm {
        // SAFETY: needs nothing.
        Alarm(unsafe { ffi::Tcl_GetCurrentThread() })
    }
}

/// Wakes the notifier of one thread.
pub(crate) struct Alarm(ffi::ThreadId);

// SAFETY: the pointer is a number, and Tcl looks for the thread of this number under a lock.
unsafe impl Send for Alarm {}
// SAFETY: as above.
unsafe impl Sync for Alarm {}

impl Alarm {
    /// Interrupts the sleep of the notifier, or the next one if the notifier is awake. Does nothing when its thread has
    /// ended.
    pub(crate) fn ring(&self) {
        // SAFETY: any number is allowed.
        unsafe { ffi::Tcl_ThreadAlert(self.0) };
    }
}
