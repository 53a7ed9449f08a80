//! The state behind a key of a readiness provider.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::selector::Trigger;
use crate::seam::Interest;
use crate::socket::file::SocketFile;
use crate::socket::table::{HasSocket, not_a_socket};

pub(super) struct Registration {
    /// Removed before the descriptor is closed, so that no other port can have bound the path again.
    file: Option<Box<SocketFile>>,
    descriptor: Descriptor,
    /// The readiness that the owner waits for.
    pub(super) wanted: Interest,
    /// The readiness that the selector reports. It may lag behind `wanted` until that costs something.
    pub(super) armed: Interest,
    /// When the selector reports it.
    pub(super) trigger: Trigger,
    /// Whether something was reported that `receive` has not found the end of. An edge is reported once.
    pub(super) unread: bool,
    /// Whether more could have been sent when the turn's share was used up.
    pub(super) unsent: bool,
    /// Whether the next wait re-arms it.
    pub(super) rearm_pending: bool,
    /// Whether a read may stop short although more is there: the end of the stream, or what follows urgent data.
    pub(super) stops_short: bool,
}

enum Descriptor {
    Owned(OwnedFd),
    Watched(RawFd),
}

impl Registration {
    pub(super) fn owned(fd: OwnedFd, trigger: Trigger) -> Registration {
        Registration { trigger, ..Registration::new(Descriptor::Owned(fd), None) }
    }

    pub(super) fn port(fd: OwnedFd, file: Option<Box<SocketFile>>) -> Registration {
        Registration::new(Descriptor::Owned(fd), file)
    }

    pub(super) fn watched(fd: BorrowedFd<'_>) -> Registration {
        Registration::new(Descriptor::Watched(fd.as_raw_fd()), None)
    }

    fn new(descriptor: Descriptor, file: Option<Box<SocketFile>>) -> Registration {
        Registration {
            file,
            descriptor,
            wanted: Interest::empty(),
            armed: Interest::empty(),
            trigger: Trigger::Level,
            unread: false,
            unsent: false,
            rearm_pending: false,
            stops_short: false,
        }
    }

    /// Whether its owner waits for bytes, and need not be spared reports of anything else.
    #[inline]
    pub(super) fn only_reads(&self) -> bool {
        self.wanted == Interest::READ && (self.armed == Interest::READ || self.trigger == Trigger::Edge)
    }

    /// From here on the file of a listening UNIX socket is this process's to remove.
    pub(super) fn claim_file(&self) {
        if let Some(file) = &self.file {
            file.claim();
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self.descriptor, Descriptor::Watched(_))
    }

    /// For the selector, and for no operation that reads, writes or closes.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.descriptor {
            Descriptor::Owned(fd) => fd.as_fd(),
            // SAFETY: `watched` got the number from a borrowed descriptor, so it is not -1. The caller of `watch` may
            // close it at any time: a selector only hands the number to the kernel, which answers EBADF or ENOENT then.
            Descriptor::Watched(fd) => unsafe { BorrowedFd::borrow_raw(*fd) },
        }
    }
}

impl HasSocket for Registration {
    #[inline]
    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.descriptor {
            Descriptor::Owned(fd) => Ok(fd.as_fd()),
            Descriptor::Watched(_) => Err(not_a_socket()),
        }
    }
}
