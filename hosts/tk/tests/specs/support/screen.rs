//! A desktop for specifications whose own process opens windows.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ropewalk_desktop::Desktop;
use rustix::process::{Pid, Signal, kill_process};

use super::{Fuse, Interpreter};

/// One at a time, because threads of one process share Tcl's notifier thread and the focus of a display.
static ONE: Mutex<()> = Mutex::new(());

/// A desktop, and a limit on the time of a specification.
pub(crate) struct Screen {
    desktop: Desktop,
    _fuse: Fuse,
    _one: MutexGuard<'static, ()>,
}

impl Screen {
    /// Starts a desktop. Returns `None` on a machine without the programs for it.
    pub(crate) fn open() -> Option<Screen> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let desktop = Desktop::start(800, 600)?;
        let server = i32::try_from(desktop.server()).ok().and_then(Pid::from_raw).expect("a process");
        // The window manager ends with its server.
        let fuse = Fuse::light(move || kill_process(server, Signal::TERM).unwrap_or_default());
        Some(Screen { desktop, _fuse: fuse, _one: one })
    }

    /// Creates an interpreter with a main window that is visible.
    pub(crate) fn interpreter(&self) -> Interpreter {
        open_window(self.desktop.display())
    }

    /// Returns a program that uses this display.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.desktop.command(program)
    }
}

/// Creates an interpreter with a main window on a display.
pub(crate) fn open_window(display: &str) -> Interpreter {
    let tcl = Interpreter::new();
    tcl.eval(&format!("set argv {{-display {display}}}; set argc 2; package require Tk; wm geometry . 200x100+20+20"));
    tcl.eval("update");
    tcl
}
