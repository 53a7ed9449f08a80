//! Systems whose terminals have no modes yet.

use std::convert::Infallible;
use std::io;

use super::TerminalMode;
use crate::seam::WindowSize;

/// A guard that cannot exist.
#[derive(Debug)]
pub(super) struct Guard(Infallible);

impl Guard {
    pub(super) fn set(_mode: TerminalMode) -> io::Result<Guard> {
        Err(unsupported())
    }

    pub(super) fn change(&self, _mode: TerminalMode) -> io::Result<()> {
        match self.0 {}
    }
}

pub(super) fn window_size() -> io::Result<WindowSize> {
    Err(unsupported())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no modes of terminals yet")
}
