//! Systems without serial ports yet.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use ropewalk_proto::serial::{ModemLines, SerialSettings};

use crate::io_handle::OwnedWaitable;

/// A device that cannot exist.
#[derive(Debug)]
pub(super) struct Device(Infallible);

impl Device {
    pub(super) fn open(_path: &Path, _settings: &SerialSettings) -> io::Result<Device> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no serial ports yet"))
    }

    pub(super) fn stream(&self) -> io::Result<OwnedWaitable> {
        match self.0 {}
    }

    pub(super) fn apply(&self, _settings: &SerialSettings) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn set_dtr(&self, _on: bool) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn set_rts(&self, _on: bool) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn modem_lines(&self) -> io::Result<ModemLines> {
        match self.0 {}
    }

    pub(super) fn set_break(&self, _on: bool) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn discard_input(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn discard_output(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn unsent(&self) -> io::Result<usize> {
        match self.0 {}
    }
}
