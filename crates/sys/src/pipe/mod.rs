//! Bytes in and out of a pipe, a terminal or a file: the system calls of [`Pipes`](crate::Pipes), for all providers.
//!
//! A call must not block. How that is ensured depends on the descriptor, and on whether other programs use it:
//!
//! ```text
//!   Owned               O_NONBLOCK is set when the descriptor is adopted
//!   Shared, terminal    opened again: O_NONBLOCK belongs to the new open file, which no other program has
//!   Shared, otherwise   a flag of each call, where the system has one (`no_wait`). Otherwise a look first: poll(2) says
//!                       whether one call would block, and a write is as short as the system accepts at once
//!   a file              never blocks, as far as the system tells
//! ```

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ropewalk_proto::Outbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionbio, read, writev};
use rustix::termios::isatty;

use crate::seam::{PipeEnd, Received, Sharing};
use crate::socket::transfer;

#[cfg_attr(linux_like, path = "no_wait.rs")]
#[cfg_attr(not(linux_like), path = "look_first.rs")]
mod shared;

mod broken_pipe;
mod device;
mod terminal;

/// The number of bytes that a writable pipe accepts without blocking: the smallest PIPE_BUF that POSIX allows.
const SURE_BYTES: usize = 512;

/// The same for a terminal that cannot be opened again. It reports room for a single byte.
const SURE_TERMINAL_BYTES: usize = 1;

/// The way to use one descriptor without blocking. The descriptor is kept beside it, where it takes no room of its own.
pub(crate) struct Pipe {
    way: Way,
    /// Whether the other side of the terminal is gone. The system would still take bytes that no program reads.
    hung_up: Cell<bool>,
}

/// The means that keeps a call from blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The descriptor is non-blocking.
    Flagged { is_terminal: bool },
    /// The descriptor is non-blocking, and its end is the loss of a device.
    OwnDevice,
    /// A pipe that others use.
    SharedPipe,
    /// A terminal or a device that others use.
    SharedDevice { is_terminal: bool },
    /// A socket that others use.
    SharedSocket,
    /// A file, or a device that never blocks.
    File,
}

impl Pipe {
    /// Prepares `fd`. Returns the descriptor that is the argument of all other calls.
    pub(crate) fn adopt(fd: OwnedFd, end: PipeEnd, sharing: Sharing) -> io::Result<(OwnedFd, Pipe)> {
        let kind = kind_of(&fd)?;
        // Only a character device can be a terminal, so a pipe is not asked.
        let is_terminal = kind == FileType::CharacterDevice && isatty(&fd);
        let again = if is_terminal && sharing == Sharing::Shared { terminal::open_again(&fd) } else { None };
        let (fd, sharing) = again.map_or((fd, sharing), |own| (own, Sharing::Owned));
        let way = match (kind, sharing) {
            (_, Sharing::Owned) if end == PipeEnd::Device => {
                ioctl_fionbio(&fd, true)?;
                Way::OwnDevice
            }
            (FileType::RegularFile | FileType::BlockDevice | FileType::Directory, _) => Way::File,
            (FileType::CharacterDevice, _) if !is_terminal && never_blocks(fd.as_fd())? => Way::File,
            (_, Sharing::Owned) => {
                ioctl_fionbio(&fd, true)?;
                Way::Flagged { is_terminal }
            }
            (FileType::Fifo, Sharing::Shared) => Way::SharedPipe,
            (FileType::Socket, Sharing::Shared) => Way::SharedSocket,
            (_, Sharing::Shared) => Way::SharedDevice { is_terminal },
        };
        if end.writes() && way != Way::File {
            broken_pipe::survive();
        }
        Ok((fd, Pipe { way, hung_up: Cell::new(false) }))
    }

    /// Whether the system can report that the other end is gone.
    pub(crate) fn can_be_lost(&self) -> bool {
        self.way != Way::File
    }

    pub(crate) fn receive(&self, fd: BorrowedFd<'_>, scratch: &mut [u8]) -> io::Result<Received> {
        loop {
            let received = match self.way {
                Way::Flagged { .. } | Way::OwnDevice | Way::File => read(fd, &mut *scratch),
                Way::SharedPipe => shared::read(fd, scratch),
                Way::SharedDevice { .. } => read_looking(fd, scratch),
                Way::SharedSocket => transfer::receive_shared(fd, scratch),
            };
            return match received {
                Ok(0) if self.way == Way::OwnDevice => Err(self.lose_device(Errno::IO)),
                Ok(0) => Ok(Received::Eof),
                // A terminal returns at most one line or one page, and more may be there.
                Ok(count) if self.is_terminal() || count == scratch.len() => Ok(Received::Filled(count)),
                Ok(count) => Ok(Received::Drained(count)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(Received::Empty),
                Err(error) if self.way == Way::OwnDevice => Err(self.lose_device(error)),
                // The other side of the terminal is gone: tty_ioctl(4), and EIO of read(2).
                Err(Errno::IO) if self.is_terminal() => {
                    self.hung_up.set(true);
                    Ok(Received::Eof)
                }
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends from the outbox until it is empty, the pipe would block or the turn's share is used up. Returns whether
    /// the pipe would block.
    pub(crate) fn send_outbox(&self, fd: BorrowedFd<'_>, outbox: &mut Outbox) -> io::Result<bool> {
        // A write may be short although more fits, so only a write that takes nothing shows that the pipe is full.
        transfer::send_by(outbox, |slices, _offered| {
            let taken = self.send_slices(fd, slices)?;
            Ok((taken, taken == 0))
        })
    }

    /// Sends as many bytes as the system takes at once. With no bytes the call only returns the error of a broken pipe.
    pub(crate) fn send_slice(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        match bytes {
            [] => self.check_reader(fd).map(|()| 0),
            bytes => self.send_slices(fd, &[IoSlice::new(bytes)]),
        }
    }

    fn send_slices(&self, fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.hung_up.get() {
            return Err(self.loss());
        }
        loop {
            let sent = match self.way {
                Way::Flagged { .. } | Way::OwnDevice | Way::File => writev(fd, slices),
                Way::SharedPipe => shared::write(fd, slices),
                Way::SharedDevice { is_terminal: true } => write_looking(fd, slices, SURE_TERMINAL_BYTES),
                Way::SharedDevice { is_terminal: false } => write_looking(fd, slices, SURE_BYTES),
                Way::SharedSocket => transfer::send_shared(fd, &slices[0]),
            };
            match sent {
                Err(Errno::INTR) => {}
                // A terminal without a program at its other side is full for ever.
                Err(Errno::AGAIN) if self.is_terminal() && look(fd, PollFlags::OUT)?.contains(PollFlags::HUP) => {
                    self.hung_up.set(true);
                    return Err(self.loss());
                }
                Err(Errno::AGAIN) => return Ok(0),
                Err(error) if self.way == Way::OwnDevice => return Err(self.lose_device(error)),
                outcome => return Ok(outcome?),
            }
        }
    }

    /// # Errors
    /// `BrokenPipe` if the last reader is gone.
    fn check_reader(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let found = if self.can_be_lost() { look(fd, PollFlags::empty())? } else { PollFlags::empty() };
        if found.intersects(PollFlags::ERR | PollFlags::HUP) { Err(self.loss()) } else { Ok(()) }
    }

    fn is_terminal(&self) -> bool {
        matches!(
            self.way,
            Way::Flagged { is_terminal: true } | Way::OwnDevice | Way::SharedDevice { is_terminal: true }
        )
    }

    /// The error of a write that no program at the other side will read.
    fn loss(&self) -> io::Error {
        if self.way == Way::OwnDevice { device::gone(Errno::IO) } else { Errno::PIPE.into() }
    }

    fn lose_device(&self, cause: Errno) -> io::Error {
        self.hung_up.set(true);
        device::gone(cause)
    }
}

fn kind_of(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode as _))
}

/// Whether a device is ready at any time, as null(4) is: some systems cannot wait for such a device.
fn never_blocks(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let both = PollFlags::IN | PollFlags::OUT;
    Ok(look(fd, both)?.contains(both))
}

/// Asks poll(2) without waiting.
fn look(fd: BorrowedFd<'_>, wanted: PollFlags) -> rustix::io::Result<PollFlags> {
    let mut asked = [PollFd::from_borrowed_fd(fd, wanted)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked[0].revents())
}

/// # Errors
/// `EAGAIN` if a call of the `wanted` kind would block. `EPIPE` if a write would block for ever, because the other side
/// is gone.
fn looked(fd: BorrowedFd<'_>, wanted: PollFlags) -> rustix::io::Result<()> {
    match look(fd, wanted)? {
        found if found.intersects(wanted) => Ok(()),
        found if found.is_empty() => Err(Errno::AGAIN),
        // A read returns what is left, then the end or the error.
        _ if wanted == PollFlags::IN => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Reads, if that does not block.
fn read_looking(fd: BorrowedFd<'_>, scratch: &mut [u8]) -> rustix::io::Result<usize> {
    looked(fd, PollFlags::IN)?;
    read(fd, scratch)
}

/// Writes at most `sure` bytes, which are accepted without blocking if any are.
fn write_looking(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>], sure: usize) -> rustix::io::Result<usize> {
    looked(fd, PollFlags::OUT)?;
    let front = &slices[0];
    rustix::io::write(fd, &front[..front.len().min(sure)])
}

#[cfg(test)]
mod tests;
