//! Systems that are not Unix: programs run in the foreground.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use ropewalk::application::Identity;

use super::{Side, Surroundings};

/// There are no daemons here.
pub(crate) struct Report(Infallible);

/// There are no daemons here.
pub(crate) struct Telling(Infallible);

pub(crate) fn become_daemon() -> Result<Side, String> {
    Err("a process cannot go into the background on this system: run it in the foreground".to_owned())
}

impl Report {
    pub(crate) fn read(self) -> (u8, String) {
        match self.0 {}
    }
}

impl Telling {
    pub(crate) fn tell(self, _status: u8, _message: &str) {
        match self.0 {}
    }
}

pub(crate) fn hide_input() -> io::Result<()> {
    Ok(())
}

pub(crate) fn close_streams() -> io::Result<()> {
    Ok(())
}

pub(crate) fn enter_root(surroundings: &Surroundings<'_>) -> Result<(), String> {
    surroundings.chroot.map_or(Ok(()), |_| Err("there is no chroot on this system".to_owned()))
}

pub(crate) fn enter_directory(surroundings: &Surroundings<'_>) -> Result<(), String> {
    if surroundings.umask.is_some() {
        return Err("there is no umask on this system".to_owned());
    }
    let Some(directory) = surroundings.rundir else { return Ok(()) };
    let changed = std::env::set_current_dir(directory);
    changed.map_err(|error| format!("cannot change to the directory {}: {error}", directory.display()))
}

pub(crate) fn is_another(_uid: u32) -> bool {
    false
}

pub(crate) fn open_without_waiting(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

pub(crate) fn give_to(_file: &File, _identity: Identity) -> io::Result<()> {
    Ok(())
}

/// There are no pid files here.
#[derive(Debug)]
pub(crate) struct PidFile(Infallible);

impl PidFile {
    pub(crate) fn take(_path: &Path) -> Result<PidFile, String> {
        Err("pid files are not written on this system".to_owned())
    }

    pub(crate) fn write(&mut self) -> Result<(), String> {
        match self.0 {}
    }

    pub(crate) fn remove(self) {
        match self.0 {}
    }
}

/// There is no log of this kind here.
pub(crate) struct Syslog(Infallible);

impl Syslog {
    pub(crate) fn connect(_path: &Path, _name: &'static str) -> io::Result<Syslog> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no such log on this system"))
    }

    pub(crate) fn send(&self, _severity: u8, _line: &[u8]) {
        match self.0 {}
    }
}

/// There is no supervisor of this kind here.
pub(crate) struct Notifier(Infallible);

impl Notifier {
    pub(crate) fn from_environment() -> Option<Notifier> {
        None
    }

    pub(crate) fn tell(&self, _state: &str) {
        match self.0 {}
    }

    pub(crate) fn watchdog_interval() -> Option<Duration> {
        None
    }
}

pub(crate) fn monotonic_micros() -> u64 {
    0
}
