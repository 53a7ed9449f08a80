//! The functions of GLib, GObject and Gio that the adapter calls.
//!
//! The crates gtk (GTK 3) and gtk4 need different versions of glib-sys, so the adapter declares its functions itself and
//! serves both. Source: the headers of GLib 2.66, glib/gmain.h, gobject/gsignal.h and gio/gapplication.h.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_ushort, c_void};

/// `GMainContext`.
#[repr(C)]
pub(crate) struct MainContext {
    opaque: [u8; 0],
}

/// `GApplication`.
#[repr(C)]
pub(crate) struct Application {
    opaque: [u8; 0],
}

/// `GError`.
#[repr(C)]
pub(crate) struct GError {
    domain: u32,
    code: c_int,
    pub(crate) message: *const c_char,
}

/// `GSource`, whose size is part of GLib's interface.
#[repr(C)]
pub(crate) struct Source {
    callback_data: *mut c_void,
    callback_functions: *mut c_void,
    functions: *const SourceFunctions,
    reference_count: c_uint,
    context: *mut MainContext,
    priority: c_int,
    flags: c_uint,
    id: c_uint,
    poll_fds: *mut c_void,
    previous: *mut c_void,
    next: *mut c_void,
    name: *mut c_char,
    private: *mut c_void,
}

/// `GPollFD`.
#[repr(C)]
pub(crate) struct PollFd {
    pub(crate) fd: c_int,
    pub(crate) events: c_ushort,
    pub(crate) returned: c_ushort,
}

/// `G_IO_IN`.
pub(crate) const IO_IN: c_ushort = 1;

/// A `gboolean`.
pub(crate) type Boolean = c_int;

/// `GSourceFuncs`.
#[repr(C)]
pub(crate) struct SourceFunctions {
    pub(crate) prepare: unsafe extern "C" fn(*mut Source, *mut c_int) -> Boolean,
    pub(crate) check: unsafe extern "C" fn(*mut Source) -> Boolean,
    pub(crate) dispatch: unsafe extern "C" fn(*mut Source, *mut c_void, *mut c_void) -> Boolean,
    pub(crate) finalize: unsafe extern "C" fn(*mut Source),
    pub(crate) closure_callback: *mut c_void,
    pub(crate) closure_marshal: *mut c_void,
}

// SAFETY: a table of functions that is never written to.
unsafe impl Sync for SourceFunctions {}

unsafe extern "C" {
    pub(crate) fn g_main_context_default() -> *mut MainContext;
    pub(crate) fn g_main_context_ref_thread_default() -> *mut MainContext;
    pub(crate) fn g_main_context_ref(context: *mut MainContext) -> *mut MainContext;
    pub(crate) fn g_main_context_unref(context: *mut MainContext);
    pub(crate) fn g_main_context_acquire(context: *mut MainContext) -> Boolean;
    pub(crate) fn g_main_context_release(context: *mut MainContext);
    pub(crate) fn g_main_context_iteration(context: *mut MainContext, may_block: Boolean) -> Boolean;
    pub(crate) fn g_main_context_wakeup(context: *mut MainContext);

    pub(crate) fn g_source_new(functions: *const SourceFunctions, size: c_uint) -> *mut Source;
    pub(crate) fn g_source_set_name(source: *mut Source, name: *const c_char);
    pub(crate) fn g_source_set_priority(source: *mut Source, priority: c_int);
    pub(crate) fn g_source_set_can_recurse(source: *mut Source, can_recurse: Boolean);
    pub(crate) fn g_source_add_poll(source: *mut Source, fd: *mut PollFd);
    pub(crate) fn g_source_attach(source: *mut Source, context: *mut MainContext) -> c_uint;
    pub(crate) fn g_source_destroy(source: *mut Source);
    pub(crate) fn g_source_unref(source: *mut Source);

    pub(crate) fn g_object_ref(object: *mut c_void) -> *mut c_void;
    pub(crate) fn g_object_unref(object: *mut c_void);
    pub(crate) fn g_object_get(object: *mut c_void, name: *const c_char, ...);
    pub(crate) fn g_signal_lookup(name: *const c_char, type_of: usize) -> c_uint;
    pub(crate) fn g_signal_connect_data(
        instance: *mut c_void,
        signal: *const c_char,
        handler: *const c_void,
        data: *mut c_void,
        destroy: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
        flags: c_uint,
    ) -> c_ulong;
    pub(crate) fn g_signal_handler_disconnect(instance: *mut c_void, handler: c_ulong);

    pub(crate) fn g_error_free(error: *mut GError);

    pub(crate) fn g_application_register(
        application: *mut Application,
        cancellable: *mut c_void,
        error: *mut *mut GError,
    ) -> Boolean;
    pub(crate) fn g_application_get_is_remote(application: *mut Application) -> Boolean;
    pub(crate) fn g_application_run(application: *mut Application, count: c_int, arguments: *mut *mut c_char) -> c_int;
    pub(crate) fn g_application_quit(application: *mut Application);
    pub(crate) fn g_application_hold(application: *mut Application);
    pub(crate) fn g_application_release(application: *mut Application);
}
