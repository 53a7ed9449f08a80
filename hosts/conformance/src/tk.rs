//! Tcl's event loop.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::Reactor;
use ropewalk::hosting::HostLoop;
use ropewalk_conformance::hosts::Hosted;

unsafe extern "C" {
    fn Tcl_FinalizeThread();
}

/// Ends Tcl's part of a thread with the thread. Tcl would take the next thread with the same number for this one.
struct ThreadsTcl;

impl Drop for ThreadsTcl {
    fn drop(&mut self) {
        // SAFETY: the thread ends, and uses Tcl no more.
        unsafe { Tcl_FinalizeThread() };
    }
}

thread_local!(static TCL: ThreadsTcl = const { ThreadsTcl });

/// Makes `reactor` a guest of the event loop of its thread. No display is needed.
pub fn install(reactor: &Reactor) -> Hosted {
    TCL.with(|_| ());
    let tk = ropewalk_tk::install_without_interpreter(reactor).expect("a new reactor");
    // Tcl opens the pipe of its notifier thread before the specification counts or closes descriptors of its own.
    tk.iterate(tk.guest(), Some(Duration::ZERO));
    Hosted { guest: tk.guest().clone(), host: Rc::new(tk) }
}
