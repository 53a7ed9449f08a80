//! The state behind a key of a readiness provider.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::selector::{Trigger, Watch};
use crate::pipe::Pipe;
use crate::socket::datagrams::DatagramSocket;
use crate::socket::file::SocketFile;
use crate::socket::table::{HasSocket, no_socket_but_a_pipe, not_a_connection, not_a_socket, not_datagrams};

pub(super) struct Registration {
    /// The file of a UNIX port. It must be removed before the descriptor is closed, because afterwards another port may
    /// bind the path.
    file: Option<Box<SocketFile>>,
    descriptor: Descriptor,
    /// The readiness that the owner waits for.
    pub(super) wanted: Watch,
    /// The readiness that the selector reports. It may exceed `wanted` until the excess would cost a wake-up.
    pub(super) armed: Watch,
    /// The trigger: when the selector reports a ready descriptor.
    pub(super) trigger: Trigger,
    /// Whether `receive` may have left reported bytes behind. An edge is reported only once.
    pub(super) unread: bool,
    /// Whether the turn's share was used up although the socket could have taken more bytes.
    pub(super) unsent: bool,
    /// Whether the next wait re-arms the descriptor.
    pub(super) rearm_pending: bool,
    /// Whether a read may stop short before the end of the stream, or before bytes behind urgent data.
    pub(super) stops_short: bool,
}

enum Descriptor {
    Connection(OwnedFd),
    Port(OwnedFd),
    Pipe { fd: OwnedFd, pipe: Pipe },
    Datagrams(Box<DatagramSocket>),
    Watched(RawFd),
}

impl Registration {
    pub(super) fn connection(fd: OwnedFd, trigger: Trigger) -> Registration {
        Registration { trigger, ..Registration::new(Descriptor::Connection(fd), None) }
    }

    pub(super) fn port(fd: OwnedFd, file: Option<Box<SocketFile>>) -> Registration {
        Registration::new(Descriptor::Port(fd), file)
    }

    pub(super) fn pipe(fd: OwnedFd, pipe: Pipe) -> Registration {
        Registration::new(Descriptor::Pipe { fd, pipe }, None)
    }

    pub(super) fn datagrams(socket: DatagramSocket) -> Registration {
        Registration::new(Descriptor::Datagrams(Box::new(socket)), None)
    }

    pub(super) fn watched(fd: BorrowedFd<'_>) -> Registration {
        Registration::new(Descriptor::Watched(fd.as_raw_fd()), None)
    }

    fn new(descriptor: Descriptor, file: Option<Box<SocketFile>>) -> Registration {
        Registration {
            file,
            descriptor,
            wanted: Watch::empty(),
            armed: Watch::empty(),
            trigger: Trigger::Level,
            unread: false,
            unsent: false,
            rearm_pending: false,
            stops_short: false,
        }
    }

    /// Whether the owner wants only READ, so that a READ event needs no check against `wanted`.
    #[inline]
    pub(super) fn only_reads(&self) -> bool {
        self.wanted == Watch::READ && (self.armed == Watch::READ || self.trigger == Trigger::Edge)
    }

    /// Makes this process the one that removes the file of a listening UNIX socket.
    pub(super) fn claim_file(&self) {
        if let Some(file) = &self.file {
            file.claim();
        }
        if let Descriptor::Datagrams(socket) = &self.descriptor {
            socket.claim_file();
        }
    }

    pub(super) fn is_connection(&self) -> bool {
        matches!(self.descriptor, Descriptor::Connection(_))
    }

    /// Whether the owner gets a report when the descriptor is lost while it does not read.
    pub(super) fn reports_loss(&self) -> bool {
        match &self.descriptor {
            Descriptor::Connection(_) => true,
            Descriptor::Pipe { pipe, .. } => pipe.can_be_lost(),
            Descriptor::Port(_) | Descriptor::Datagrams(_) | Descriptor::Watched(_) => false,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self.descriptor, Descriptor::Watched(_))
    }

    /// Returns the descriptor of a connection.
    pub(super) fn into_connection(self) -> Option<OwnedFd> {
        match self.descriptor {
            Descriptor::Connection(fd) => Some(fd),
            _ => None,
        }
    }

    /// Returns the socket of a connection or port, for the calls of each message.
    #[inline]
    pub(super) fn as_socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.descriptor {
            Descriptor::Connection(fd) | Descriptor::Port(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// Returns the descriptor and the pipe.
    ///
    /// # Errors
    /// `InvalidInput` for another kind of source.
    pub(super) fn as_pipe(&self) -> io::Result<(BorrowedFd<'_>, &Pipe)> {
        match &self.descriptor {
            Descriptor::Pipe { fd, pipe } => Ok((fd.as_fd(), pipe)),
            Descriptor::Datagrams(_) => Err(not_a_connection()),
            _ => Err(not_a_socket()),
        }
    }

    /// # Errors
    /// `InvalidInput` for another kind of source.
    pub(super) fn as_datagrams(&mut self) -> io::Result<&mut DatagramSocket> {
        match &mut self.descriptor {
            Descriptor::Datagrams(socket) => Ok(socket),
            _ => Err(not_datagrams()),
        }
    }

    /// Returns the descriptor for the selector. No other operation may use it.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.descriptor {
            Descriptor::Connection(fd) | Descriptor::Port(fd) | Descriptor::Pipe { fd, .. } => fd.as_fd(),
            Descriptor::Datagrams(socket) => socket.fd(),
            // SAFETY: `watched` got the number from a borrowed descriptor, so it is not -1. The caller of `watch` may
            // close the descriptor at any time. The selector only passes the number to the kernel, which then returns
            // EBADF or ENOENT.
            Descriptor::Watched(fd) => unsafe { BorrowedFd::borrow_raw(*fd) },
        }
    }
}

impl HasSocket for Registration {
    #[inline]
    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.descriptor {
            Descriptor::Connection(fd) | Descriptor::Port(fd) => Ok(fd.as_fd()),
            Descriptor::Datagrams(socket) => Ok(socket.fd()),
            Descriptor::Pipe { .. } => Err(no_socket_but_a_pipe()),
            Descriptor::Watched(_) => Err(not_a_socket()),
        }
    }

    fn is_pipe(&self) -> bool {
        matches!(self.descriptor, Descriptor::Pipe { .. })
    }
}
