//! The descriptors of a child and this process's ends of its pipes, opened before the child exists.
//!
//! Every one is close-on-exec from its first moment, so that no other child of this process can inherit it. None has
//! the number of a standard stream: a program that was started without standard streams would otherwise pass a pipe to
//! a child that inherits them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::seam::{ChildDescriptor, PipeEnd, SpawnPlan, WindowSize};

/// The first number behind the standard streams.
const FIRST_OTHER: RawFd = 3;

pub(super) struct Descriptors {
    child: Vec<(u32, ChildEnd)>,
    /// This process's ends, by the number in the child.
    pub(super) ours: Vec<(u32, PipeEnd, OwnedFd)>,
    /// This process's side of the terminal.
    pub(super) master: Option<OwnedFd>,
    slave: Option<OwnedFd>,
}

enum ChildEnd {
    Own(OwnedFd),
    Copy(Arc<OwnedFd>),
    Inherited(RawFd),
    /// The end that has another number in the child.
    Same(u32),
    Terminal,
}

impl Descriptors {
    /// Opens the descriptors of a plan that has been checked.
    pub(super) fn open(plan: &SpawnPlan) -> io::Result<Descriptors> {
        let (master, slave) = plan.terminal.map(terminal).transpose()?.unzip();
        let mut opened = Descriptors { child: Vec::new(), ours: Vec::new(), master, slave };
        for (number, wanted) in &plan.descriptors {
            let end = opened.open_one(*number, wanted)?;
            opened.child.push((*number, end));
        }
        Ok(opened)
    }

    fn open_one(&mut self, number: u32, wanted: &ChildDescriptor) -> io::Result<ChildEnd> {
        Ok(match wanted {
            ChildDescriptor::Pipe(end) => {
                let (ours, theirs) = pipe(*end)?;
                self.ours.push((number, *end, ours));
                ChildEnd::Own(theirs)
            }
            ChildDescriptor::Inherited(number) => inherited(*number)?,
            ChildDescriptor::Null => ChildEnd::Own(null()?),
            ChildDescriptor::Copy(copied) => ChildEnd::Copy(copied.clone()),
            ChildDescriptor::Same(other) => ChildEnd::Same(*other),
            ChildDescriptor::Terminal => ChildEnd::Terminal,
        })
    }

    /// Returns each number in the child with the number of its source in this process.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u32, RawFd)> {
        self.child.iter().map(|(number, end)| (*number, self.source(end)))
    }

    fn source(&self, end: &ChildEnd) -> RawFd {
        match end {
            ChildEnd::Own(fd) => fd.as_raw_fd(),
            ChildEnd::Copy(fd) => fd.as_raw_fd(),
            ChildEnd::Inherited(number) => *number,
            ChildEnd::Same(other) => {
                let same = self.child.iter().find(|(number, _)| number == other);
                same.map_or(-1, |(_, end)| self.source(end))
            }
            ChildEnd::Terminal => self.terminal().unwrap_or(-1),
        }
    }

    /// Returns the number of the child's side of the terminal.
    pub(super) fn terminal(&self) -> Option<RawFd> {
        self.slave.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// Returns this process's end and the child's end.
fn pipe(end: PipeEnd) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = match end {
        PipeEnd::Reader => pipe_with(PipeFlags::CLOEXEC)?,
        PipeEnd::Writer => {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            (writer, reader)
        }
        PipeEnd::Both | PipeEnd::Device => {
            let (ours, theirs) = UnixStream::pair()?;
            (ours.into(), theirs.into())
        }
    };
    Ok((above_standard(ours)?, above_standard(theirs)?))
}

fn null() -> io::Result<OwnedFd> {
    above_standard(File::options().read(true).write(true).open("/dev/null")?.into())
}

fn inherited(number: u32) -> io::Result<ChildEnd> {
    let number = RawFd::try_from(number).map_err(|_| invalid("the number of a descriptor is too large"))?;
    // SAFETY: F_GETFD takes any number and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
        Ok(ChildEnd::Inherited(number))
    } else if number < FIRST_OTHER {
        Ok(ChildEnd::Own(null()?))
    } else {
        Err(invalid(&format!("descriptor {number} is not open in this process, so a child cannot inherit it")))
    }
}

/// Opens a terminal, and returns its two sides. The size is in force before the child exists.
fn terminal(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = above_standard(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    // Asked of the descriptor, because the name may mean another terminal where /dev/pts is mounted twice.
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    resize(master.as_fd(), size)?;
    Ok((master, above_standard(slave)?))
}

/// Sets the size of a terminal, by either of its sides.
pub(super) fn resize(terminal: std::os::fd::BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Moves a descriptor that has the number of a standard stream.
pub(super) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST_OTHER { Ok(fd) } else { Ok(fcntl_dupfd_cloexec(&fd, FIRST_OTHER)?) }
}

/// Takes ownership of the descriptor that clone(2) has returned.
pub(super) fn process_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: clone(2) has just opened the descriptor, and it has no other owner.
    above_standard(unsafe { OwnedFd::from_raw_fd(number) })
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
