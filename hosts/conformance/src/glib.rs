//! GLib's main loop.

use std::ffi::c_void;
use std::rc::Rc;

use ropewalk::Reactor;
use ropewalk_conformance::hosts::Hosted;

unsafe extern "C" {
    fn g_main_context_new() -> *mut c_void;
    fn g_main_context_push_thread_default(context: *mut c_void);
}

/// Makes `reactor` a guest of a main loop, in a context of its thread.
pub fn install(reactor: &Reactor) -> Hosted {
    // SAFETY: needs nothing. The context stays until the process exits.
    let context = unsafe { g_main_context_new() };
    // SAFETY: the context is new.
    unsafe { g_main_context_push_thread_default(context) };
    let glib = ropewalk_glib::install(reactor).expect("a new reactor");
    Hosted { guest: glib.guest().clone(), host: Rc::new(glib) }
}
