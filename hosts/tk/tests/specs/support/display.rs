//! A display without a screen, for specifications with windows.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::{Fuse, Interpreter};

/// One at a time, because threads of one process share Tcl's notifier thread and the focus of a display.
static ONE: Mutex<()> = Mutex::new(());

/// An X server that ends when this is dropped.
pub(crate) struct Display {
    server: Child,
    name: String,
    _fuse: Fuse,
    _one: MutexGuard<'static, ()>,
}

impl Display {
    /// Starts an X server on a display that is free.
    pub(crate) fn open() -> Display {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb is installed");
        let pid = Pid::from_child(&server);
        let fuse = Fuse::light(move || kill_process(pid, Signal::TERM).unwrap_or_default());
        let mut number = String::new();
        let output = server.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut number).expect("a display is free");
        Display { server, name: format!(":{}", number.trim()), _fuse: fuse, _one: one }
    }

    /// Returns the value of `DISPLAY`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Creates an interpreter with a main window that is visible.
    pub(crate) fn interpreter(&self) -> Interpreter {
        open_window(&self.name)
    }

    /// Returns a program that uses this display.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.name);
        command
    }
}

/// Creates an interpreter with a main window on a display.
pub(crate) fn open_window(display: &str) -> Interpreter {
    let tcl = Interpreter::new();
    tcl.eval(&format!("set argv {{-display {display}}}; set argc 2; package require Tk; wm geometry . 200x100+20+20"));
    tcl.eval("update");
    tcl
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.server), Signal::TERM);
        let _ = self.server.wait();
    }
}
