//! Systems that are not Unix. Programs run only in the foreground.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use ropewalk::application::Identity;

use super::{Access, Daemonized, Directories, Interruption};

/// Never made: there are no daemons.
pub(crate) struct Report(Infallible);

/// Never made: there are no daemons.
pub(crate) struct Reporter(Infallible);

pub(crate) fn daemonize() -> Result<Daemonized, String> {
    Err("daemons are not supported on this system: run it in the foreground".to_owned())
}

impl Report {
    pub(crate) fn read(self) -> (u8, String) {
        match self.0 {}
    }
}

impl Reporter {
    pub(crate) fn report(self, _status: u8, _message: &str) -> io::Result<()> {
        match self.0 {}
    }
}

/// Never made: the start is not watched, because signals cannot be caught.
pub(crate) struct Interruptions(Infallible);

impl Interruptions {
    pub(crate) fn open(_reporter: Option<&Reporter>) -> io::Result<Interruptions> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "signals cannot be caught on this system"))
    }

    pub(crate) fn catch_signals(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn wait(&self) -> Option<Interruption> {
        match self.0 {}
    }

    pub(crate) fn end(&self) {
        match self.0 {}
    }
}

pub(crate) fn redirect_input() -> io::Result<()> {
    Ok(())
}

pub(crate) fn redirect_output() -> io::Result<()> {
    Ok(())
}

pub(crate) fn change_root(directories: &Directories<'_>) -> Result<(), String> {
    directories.chroot.map_or(Ok(()), |_| Err("chroot is not supported on this system".to_owned()))
}

pub(crate) fn change_directory(directories: &Directories<'_>) -> Result<(), String> {
    if directories.umask.is_some() {
        return Err("umask is not supported on this system".to_owned());
    }
    let Some(directory) = directories.rundir else { return Ok(()) };
    let changed = std::env::set_current_dir(directory);
    changed.map_err(|error| format!("cannot change to the directory {}: {error}", directory.display()))
}

pub(crate) fn is_other_user(_uid: u32) -> bool {
    false
}

pub(crate) fn open_file(path: &Path, access: Access, _user: Identity) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match access {
        Access::Append => options.append(true).create(true),
        Access::Read => options.read(true),
        Access::Update => options.read(true).write(true).create(true),
    };
    options.open(path)
}

pub(crate) fn change_owner(_file: &File, _identity: Identity) -> io::Result<()> {
    Ok(())
}

/// Never made: there are no pid files.
#[derive(Debug)]
pub(crate) struct PidFile(Infallible);

impl PidFile {
    pub(crate) fn take(_path: &Path, _user: Identity) -> Result<PidFile, String> {
        Err("pid files are not supported on this system".to_owned())
    }

    pub(crate) fn write(&mut self) -> Result<(), String> {
        match self.0 {}
    }

    pub(crate) fn remove(self) {
        match self.0 {}
    }
}

/// Never made: there is no syslog.
pub(crate) struct Syslog(Infallible);

impl Syslog {
    pub(crate) fn connect(_path: &Path, _name: &'static str) -> io::Result<Syslog> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "syslog is not supported on this system"))
    }

    pub(crate) fn send(&self, _severity: u8, _line: &[u8]) {
        match self.0 {}
    }
}

/// Never made: there is no such supervisor.
pub(crate) struct Notifier(Infallible);

impl Notifier {
    pub(crate) fn from_environment() -> Option<Notifier> {
        None
    }

    pub(crate) fn send(&self, _state: &str) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn watchdog_interval() -> Option<Duration> {
        None
    }
}

pub(crate) fn monotonic_micros() -> u64 {
    0
}
