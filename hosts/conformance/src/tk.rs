//! Tcl's event loop.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::Reactor;
use ropewalk::hosting::HostLoop;
use ropewalk_conformance::hosts::Hosted;

use crate::frame::sleeping;

/// Makes `reactor` a guest of Tcl's event loop. No display is needed.
///
/// One thread of a process has reactors in Tcl's loop. A reactor of a second thread is a guest of another loop.
pub fn install(reactor: &Reactor) -> Hosted {
    let Ok(tk) = ropewalk_tk::install_without_interpreter(reactor) else { return sleeping(reactor) };
    // Tcl opens the pipe of its notifier thread before the specification counts or closes descriptors of its own.
    tk.iterate(tk.guest(), Some(Duration::ZERO));
    Hosted { guest: tk.guest().clone(), host: Rc::new(tk) }
}
