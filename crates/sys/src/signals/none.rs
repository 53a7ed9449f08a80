//! Systems without signals yet. The numbers are those of the C standard library.

use std::convert::Infallible;
use std::io;

use crate::waker::Waker;

/// The terminal has gone. Never arrives on this system.
pub const SIGHUP: i32 = 1;
/// A signal for the program's own use. Never arrives on this system.
pub const SIGUSR1: i32 = 10;
/// The size of the terminal has changed. Never arrives on this system.
pub const SIGWINCH: i32 = 28;
/// An interrupt from the keyboard.
pub const SIGINT: i32 = 2;
/// A request to exit.
pub const SIGTERM: i32 = 15;
/// The signals by which a user or a service supervisor asks a program to stop.
pub const STOP_SIGNALS: &[i32] = &[SIGINT, SIGTERM];

pub(super) fn end_process(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

pub(super) struct Watch(Infallible);

impl Watch {
    pub(super) fn new(_signals: &[i32], _waker: Waker) -> io::Result<Watch> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "no signals on this system yet"))
    }

    pub(super) fn end_stuck_process(&self) {
        match self.0 {}
    }

    pub(super) fn take(&self) -> Option<i32> {
        match self.0 {}
    }
}
