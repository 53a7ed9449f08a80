//! Linux: many datagrams with one call, trains of them, and the details of each.

mod control;
mod receive;
mod send;
mod settings;
mod trains;

pub(super) use receive::receive;
pub(super) use send::send;
pub(super) use settings::{dropped, mtu_probing, only_own_groups, set_mtu_probing};

use std::os::fd::BorrowedFd;
use std::{io, mem, ptr};

use libc::{iovec, mmsghdr};

use super::family::Family;
use trains::Trains;

/// A header that points to nothing.
// SAFETY: null pointers and zero lengths are valid. Some C libraries have private padding, which must be zero.
const NO_HEADER: mmsghdr = unsafe { mem::zeroed() };

/// A vector that points to nothing.
const NO_VECTOR: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// The number of messages of one system call. More gained nothing that could be measured.
const BATCH: usize = 16;

/// The facts about a socket that only Linux needs.
pub(super) struct Abilities {
    has_details: bool,
    trains: Trains,
}

impl Abilities {
    /// Switches `details` on if they are wanted, and asks for trains.
    pub(super) fn set_up(fd: BorrowedFd<'_>, family: Family, details: bool) -> io::Result<Abilities> {
        let has_details = details && family.is_inet();
        if has_details {
            settings::report_details(fd, family)?;
        }
        Ok(Abilities { has_details, trains: Trains::of(fd, family) })
    }

    /// Returns the number of datagrams of the longest train that may leave now.
    pub(super) fn segments_max(&self) -> usize {
        self.trains.segments_max()
    }
}
