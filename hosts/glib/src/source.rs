//! Sources of a main context whose functions are those of a Rust value.
//!
//! In each pass, a context asks each source how long it may sleep (prepare), sleeps, asks each source whether it is ready
//! (check), and dispatches the ready sources of the highest priority. Source: "The Main Event Loop" of GLib's reference.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use crate::context::Context;
use crate::ffi;

/// The functions of a source. They are called on the thread of its context.
pub(crate) trait Behaviour {
    /// Returns how long the context may sleep. Zero means that the source is ready, and `None` sets no limit.
    ///
    /// GLib forbids passes of a loop in here, so no callback of a program may be called.
    fn sleep(&self) -> Option<Duration>;

    /// Returns whether the descriptor is watched during the sleep.
    fn watches(&self) -> bool;

    /// Returns whether the source is ready after the sleep. `is_readable` is the state of its descriptor.
    fn is_ready(&self, is_readable: bool) -> bool;

    /// Handles what the source is ready for, and returns whether the source stays attached. Passes of the loop may be
    /// made in here.
    fn dispatch(&self) -> bool;
}

/// A source that is attached to a context until it is dropped.
pub(crate) struct Source(NonNull<ffi::Source>);

/// How a source is made.
pub(crate) struct Attachment<'a> {
    pub(crate) name: &'a CStr,
    /// A lower number is a higher priority.
    pub(crate) priority: c_int,
    /// The descriptor that is watched for reading.
    pub(crate) watched: Option<RawFd>,
}

/// The memory of a source, which GLib allocates.
#[repr(C)]
struct Memory<B> {
    source: ffi::Source,
    poll_fd: ffi::PollFd,
    behaviour: *const B,
}

impl Source {
    /// Attaches a source to `context`.
    pub(crate) fn attach<B: Behaviour>(behaviour: Rc<B>, context: &Context, made: &Attachment<'_>) -> Source {
        let size = u32::try_from(size_of::<Memory<B>>()).expect("a few hundred bytes");
        // SAFETY: the size is that of a structure which begins with a source.
        let source = unsafe { ffi::g_source_new(&Functions::<B>::TABLE, size) };
        let memory = source.cast::<Memory<B>>();
        // SAFETY: GLib has allocated the structure.
        unsafe { (*memory).behaviour = Rc::into_raw(behaviour) };
        // SAFETY: as above.
        let poll_fd = unsafe { &raw mut (*memory).poll_fd };
        // SAFETY: the source is new, and the name is copied.
        unsafe { ffi::g_source_set_name(source, made.name.as_ptr()) };
        // SAFETY: the source is new.
        unsafe { ffi::g_source_set_priority(source, made.priority) };
        // Without this, the source would be silent in each loop that its own callbacks run.
        // SAFETY: the source is new.
        unsafe { ffi::g_source_set_can_recurse(source, 1) };
        if let Some(fd) = made.watched {
            // A descriptor that is added as a `unix_fd` makes its source ready whatever `check` returns.
            // SAFETY: the structure is in the memory of the source.
            unsafe { poll_fd.write(ffi::PollFd { fd, events: ffi::IO_IN, returned: 0 }) };
            // SAFETY: as above.
            unsafe { ffi::g_source_add_poll(source, poll_fd) };
        }
        // SAFETY: the source is complete.
        unsafe { ffi::g_source_attach(source, context.as_ptr()) };
        Source(NonNull::new(source).expect("g_source_new aborts when there is no memory"))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: this holds a reference. The context keeps the memory while a function of the source runs.
        unsafe { ffi::g_source_destroy(self.0.as_ptr()) };
        // SAFETY: the reference is not used any more.
        unsafe { ffi::g_source_unref(self.0.as_ptr()) };
    }
}

/// The table of functions for a behaviour.
struct Functions<B>(PhantomData<B>);

impl<B: Behaviour> Functions<B> {
    const TABLE: ffi::SourceFunctions = ffi::SourceFunctions {
        prepare: prepare::<B>,
        check: check::<B>,
        dispatch: dispatch::<B>,
        finalize: finalize::<B>,
        closure_callback: std::ptr::null_mut(),
        closure_marshal: std::ptr::null_mut(),
    };
}

/// Returns the behaviour, which stays while a function of it destroys the source.
///
/// # Safety
/// `source` was made by [`Source::attach`] for a `B`, and is not finalized.
unsafe fn behaviour<B>(source: *mut ffi::Source) -> Rc<B> {
    // SAFETY: the caller's promise.
    let behaviour = unsafe { (*source.cast::<Memory<B>>()).behaviour };
    // SAFETY: `attach` made the pointer, and `finalize` gives up its reference.
    unsafe { Rc::increment_strong_count(behaviour) };
    // SAFETY: the reference was counted just now.
    unsafe { Rc::from_raw(behaviour) }
}

unsafe extern "C" fn prepare<B: Behaviour>(source: *mut ffi::Source, timeout: *mut c_int) -> ffi::Boolean {
    // SAFETY: GLib calls this for a source with this table.
    let behaviour = unsafe { behaviour::<B>(source) };
    let events = if behaviour.watches() { ffi::IO_IN } else { 0 };
    // SAFETY: as above. GLib reads the events in each pass.
    unsafe { (*source.cast::<Memory<B>>()).poll_fd.events = events };
    let sleep = behaviour.sleep();
    // SAFETY: GLib passes a place for the result.
    unsafe { timeout.write(milliseconds(sleep)) };
    (sleep == Some(Duration::ZERO)).into()
}

unsafe extern "C" fn check<B: Behaviour>(source: *mut ffi::Source) -> ffi::Boolean {
    // SAFETY: GLib calls this for a source with this table.
    let returned = unsafe { (*source.cast::<Memory<B>>()).poll_fd.returned };
    // SAFETY: as above.
    unsafe { behaviour::<B>(source) }.is_ready(returned != 0).into()
}

unsafe extern "C" fn dispatch<B: Behaviour>(
    source: *mut ffi::Source,
    _callback: *mut c_void,
    _data: *mut c_void,
) -> ffi::Boolean {
    // SAFETY: GLib calls this for a source with this table.
    unsafe { behaviour::<B>(source) }.dispatch().into()
}

unsafe extern "C" fn finalize<B: Behaviour>(source: *mut ffi::Source) {
    // SAFETY: GLib calls this once for a source with this table.
    let behaviour = unsafe { (*source.cast::<Memory<B>>()).behaviour };
    // SAFETY: `attach` made the pointer.
    drop(unsafe { Rc::from_raw(behaviour) });
}

/// Returns a timeout as poll(2) takes it. A part of a millisecond is a whole one, so that no sleep ends too early and
/// repeats itself.
fn milliseconds(sleep: Option<Duration>) -> c_int {
    let Some(sleep) = sleep else { return -1 };
    c_int::try_from(sleep.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_to_whole_milliseconds() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(2_000))), 2);
        assert_eq!(milliseconds(Some(Duration::MAX)), c_int::MAX);
    }
}
