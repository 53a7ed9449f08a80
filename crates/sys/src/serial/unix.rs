//! A terminal device: termios(3) and tty_ioctl(4).

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ropewalk_proto::serial::{ModemLines, SerialSettings};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::termios::{OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcsetattr};

use super::{exclusive, lines, modes};
use crate::system_error::explained_error;

/// The first number behind standard input, output and error.
const FIRST_OTHER: i32 = 3;

#[derive(Debug)]
pub(super) struct Device {
    fd: OwnedFd,
    /// The settings that the device had before.
    before: Termios,
}

impl Device {
    pub(super) fn open(path: &Path, settings: &SerialSettings) -> io::Result<Device> {
        // Without O_NONBLOCK the call would wait for a carrier.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|error| cannot_open(path, error))?;
        if !isatty(&fd) {
            let message = format!("{} is not a serial port", path.display());
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        exclusive::take(fd.as_fd()).map_err(|error| cannot_open(path, error))?;
        let before = tcgetattr(&fd).map_err(|error| cannot_open(path, error))?;
        let device = Device { fd, before };
        // From here on an error restores the settings.
        device.apply(settings)?;
        device.discard_input()?;
        Ok(device)
    }

    pub(super) fn stream(&self) -> io::Result<OwnedFd> {
        Ok(fcntl_dupfd_cloexec(&self.fd, FIRST_OTHER)?)
    }

    pub(super) fn apply(&self, settings: &SerialSettings) -> io::Result<()> {
        modes::apply(self.fd.as_fd(), &self.before, settings)?;
        settings.dtr.map_or(Ok(()), |on| self.set_dtr(on))?;
        settings.rts.map_or(Ok(()), |on| self.set_rts(on))
    }

    pub(super) fn set_dtr(&self, on: bool) -> io::Result<()> {
        lines::set_dtr(self.fd.as_fd(), on)
    }

    pub(super) fn set_rts(&self, on: bool) -> io::Result<()> {
        lines::set_rts(self.fd.as_fd(), on)
    }

    pub(super) fn modem_lines(&self) -> io::Result<ModemLines> {
        lines::read(self.fd.as_fd())
    }

    pub(super) fn set_break(&self, on: bool) -> io::Result<()> {
        lines::set_break(self.fd.as_fd(), on)
    }

    pub(super) fn discard_input(&self) -> io::Result<()> {
        Ok(tcflush(&self.fd, QueueSelector::IFlush)?)
    }

    pub(super) fn discard_output(&self) -> io::Result<()> {
        Ok(tcflush(&self.fd, QueueSelector::OFlush)?)
    }

    pub(super) fn unsent(&self) -> io::Result<usize> {
        lines::unsent(self.fd.as_fd())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Fails if the device has vanished, and its settings with it.
        let _ = tcsetattr(&self.fd, OptionalActions::Now, &self.before);
        exclusive::give_up(self.fd.as_fd());
    }
}

/// Returns the error of a device that cannot be opened, with the usual remedy.
fn cannot_open(path: &Path, error: Errno) -> io::Error {
    let path = path.display();
    let (kind, message) = match error {
        Errno::NOENT => (ErrorKind::NotFound, format!("there is no device {path}: check that it is plugged in")),
        Errno::NXIO | Errno::NODEV | Errno::IO => {
            (ErrorKind::NotFound, format!("there is no device behind {path}: choose another port"))
        }
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::PermissionDenied,
            format!("this user may not use {path}: add the user to the group of the file ('ls -l {path}' shows it)"),
        ),
        Errno::BUSY | Errno::WOULDBLOCK => {
            (ErrorKind::ResourceBusy, format!("another program uses {path}: close that program first"))
        }
        other => {
            let cause = io::Error::from(other);
            (cause.kind(), format!("cannot use {path}: {cause}"))
        }
    };
    explained_error(kind, error.into(), message)
}
