//! termios(3).
//!
//! Rule 1: the signal handlers visit the terminal without a lock, make system calls, and allocate nothing.
//! Rule 2: the terminal is freed only when no visitor can hold it. The thread that takes it out waits for that. This
//! ends, because a visitor never waits.
//! Rule 3: everything else happens under the lock `TURN`.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, getpgrp, getpid};
use rustix::stdio::{stderr, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use super::{TerminalMode, restoring};
use crate::inherited::input_terminal;
use crate::seam::WindowSize;

static ACTIVE: AtomicPtr<Terminal> = AtomicPtr::new(ptr::null_mut());
static VISITORS: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::new(());

/// The terminal whose mode is set.
struct Terminal {
    fd: OwnedFd,
    /// The process that has set the mode. Its forks inherit the signal handlers.
    process: Pid,
    before: Termios,
    /// The settings of each mode, in the order of `place`.
    modes: [Termios; 3],
    /// The place of the present mode.
    mode: AtomicUsize,
}

/// The guard of the active terminal.
#[derive(Debug)]
pub(super) struct Guard(());

impl Guard {
    pub(super) fn set(mode: TerminalMode) -> io::Result<Guard> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if !ACTIVE.load(Ordering::SeqCst).is_null() {
            let message = "the mode of the terminal is set already: change it by its guard";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let terminal = Terminal::new(input_terminal()?, mode)?;
        // Stored before the mode is set, because a signal may end the process at once.
        ACTIVE.store(Box::into_raw(Box::new(terminal)), Ordering::SeqCst);
        let guard = Guard(());
        restoring::install().and_then(|()| guard.change(mode))?;
        Ok(guard)
    }

    pub(super) fn change(&self, mode: TerminalMode) -> io::Result<()> {
        let mut outcome = Ok(());
        visit(|terminal| {
            terminal.mode.store(place(mode), Ordering::SeqCst);
            outcome = tcsetattr(&terminal.fd, OptionalActions::Now, terminal.wanted());
        });
        Ok(outcome?)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore_now();
        let terminal = ACTIVE.swap(ptr::null_mut(), Ordering::SeqCst);
        restoring::uninstall();
        while VISITORS.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
        // SAFETY: the pointer came from Box::into_raw in `set`, and each guard takes its own. Every visitor that could
        // have read it has left, because `visit` counts itself before it reads.
        drop(unsafe { Box::from_raw(terminal) });
    }
}

impl Terminal {
    fn new(fd: OwnedFd, mode: TerminalMode) -> io::Result<Terminal> {
        let before = tcgetattr(&fd)?;
        let mut modes = [before.clone(), before.clone(), before.clone()];
        modes[place(TerminalMode::Raw)].make_raw();
        let cbreak = &mut modes[place(TerminalMode::Cbreak)];
        cbreak.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        cbreak.special_codes[SpecialCodeIndex::VMIN] = 1;
        cbreak.special_codes[SpecialCodeIndex::VTIME] = 0;
        modes[place(TerminalMode::NoEcho)].local_modes -= LocalModes::ECHO;
        Ok(Terminal { fd, process: getpid(), before, modes, mode: AtomicUsize::new(place(mode)) })
    }

    fn wanted(&self) -> &Termios {
        &self.modes[self.mode.load(Ordering::SeqCst)]
    }

    /// Changes the terminal, unless it belongs to another job now: a change would stop this process. Async-signal-safe.
    fn settle(&self, settings: &Termios) {
        let is_ours = match tcgetpgrp(&self.fd) {
            Ok(job) => job == getpgrp(),
            // Only the terminal of the session has jobs.
            Err(error) => error == Errno::NOTTY,
        };
        if is_ours && getpid() == self.process {
            // Fails if the terminal is gone, and its settings with it.
            let _ = tcsetattr(&self.fd, OptionalActions::Now, settings);
        }
    }
}

fn place(mode: TerminalMode) -> usize {
    match mode {
        TerminalMode::Raw => 0,
        TerminalMode::Cbreak => 1,
        TerminalMode::NoEcho => 2,
    }
}

/// Calls `act` with the terminal whose mode is set, if there is one. Async-signal-safe.
fn visit(act: impl FnOnce(&Terminal)) {
    // Sequentially consistent: either the drop above sees this visitor, or this visitor sees the null pointer.
    VISITORS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the pointer is null or that of a terminal, which is not freed while this visitor is counted.
    if let Some(terminal) = unsafe { ACTIVE.load(Ordering::SeqCst).as_ref() } {
        act(terminal);
    }
    VISITORS.fetch_sub(1, Ordering::SeqCst);
}

/// Restores the earlier mode, because the process ends or stops. Async-signal-safe.
pub(crate) fn restore_now() {
    visit(|terminal| terminal.settle(&terminal.before));
}

/// Sets the mode again, because the process continues. Async-signal-safe.
pub(super) fn set_again() {
    visit(|terminal| terminal.settle(terminal.wanted()));
}

pub(super) fn window_size() -> io::Result<WindowSize> {
    let input = input_terminal();
    let size = match &input {
        Ok(fd) => tcgetwinsize(fd)?,
        Err(_) if isatty(stdout()) => tcgetwinsize(stdout())?,
        Err(_) if isatty(stderr()) => tcgetwinsize(stderr())?,
        Err(_) => {
            let message = "none of the standard streams is a terminal";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    Ok(WindowSize::new(size.ws_row, size.ws_col))
}
