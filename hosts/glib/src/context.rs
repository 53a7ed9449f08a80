//! A reference to a main context.

use std::marker::PhantomData;
use std::ptr::NonNull;

use ropewalk::{Error, Result};

use crate::ffi;

/// A reference to the context of a main loop.
pub(crate) struct Context(NonNull<ffi::MainContext>);

// SAFETY: contexts lock themselves, and their reference counts are atomic.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Refers to the context that new sources of this thread belong to.
    pub(crate) fn of_this_thread() -> Context {
        // SAFETY: needs nothing.
        let context = unsafe { ffi::g_main_context_ref_thread_default() };
        Context(NonNull::new(context).expect("without a thread's own, it is the global one"))
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::MainContext {
        self.0.as_ptr()
    }

    /// Makes one pass of the loop.
    pub(crate) fn iterate(&self, may_sleep: bool) {
        // SAFETY: the reference keeps the context. A pass may be made in a pass.
        unsafe { ffi::g_main_context_iteration(self.as_ptr(), may_sleep.into()) };
    }

    /// Interrupts the sleep of the loop. May be called in any thread.
    pub(crate) fn wake(&self) {
        // SAFETY: the reference keeps the context.
        unsafe { ffi::g_main_context_wakeup(self.as_ptr()) };
    }
}

impl Clone for Context {
    fn clone(&self) -> Context {
        // SAFETY: the reference keeps the context.
        unsafe { ffi::g_main_context_ref(self.as_ptr()) };
        Context(self.0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: this is the reference that was counted.
        unsafe { ffi::g_main_context_unref(self.as_ptr()) };
    }
}

/// The ownership of a context: sources are dispatched on this thread alone until this is dropped.
pub(crate) struct Ownership {
    context: Context,
    /// Only the thread that owns a context can give it up.
    stays_on_thread: PhantomData<*mut ()>,
}

impl Ownership {
    /// # Errors
    /// If another thread owns the context.
    pub(crate) fn of(context: Context) -> Result<Ownership> {
        // SAFETY: the reference keeps the context. A thread may own a context several times.
        if unsafe { ffi::g_main_context_acquire(context.as_ptr()) } == 0 {
            return Err(Error::Failed(
                "another thread runs the main context of this thread; call g_main_context_push_thread_default first"
                    .into(),
            ));
        }
        Ok(Ownership { context, stays_on_thread: PhantomData })
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // SAFETY: this thread owns the context.
        unsafe { ffi::g_main_context_release(self.context.as_ptr()) };
    }
}
