//! Linux: many datagrams with one call, trains of them, and the details of each.

mod control;
mod receive;
mod send;
mod settings;
mod trains;

pub(super) use receive::receive;
pub(super) use send::send;
pub(super) use settings::{
    dropped, join_v4, leave_v4, mtu_probing, only_own_groups, set_mtu_probing, set_multicast_interface,
};

use std::io;
use std::os::fd::BorrowedFd;

use super::family::Family;

/// The number of messages of one system call. More gained nothing that could be measured.
const BATCH: usize = 16;

/// The facts about a socket that only Linux needs.
pub(super) struct Abilities {
    has_details: bool,
    /// The length of the longest datagrams that may leave as a train.
    train_part_max: usize,
}

impl Abilities {
    /// Switches `details` on if they are wanted, and asks for trains.
    pub(super) fn set_up(fd: BorrowedFd<'_>, family: Family, details: bool) -> io::Result<Abilities> {
        let has_details = details && family.is_inet();
        if has_details {
            settings::report_details(fd, family)?;
        }
        Ok(Abilities { has_details, train_part_max: trains::train_part_max(fd, family) })
    }

    /// Returns the number of datagrams of the longest train that may leave now.
    pub(super) fn segments_max(&self) -> usize {
        if self.train_part_max > 0 { trains::PARTS_MAX } else { 1 }
    }
}
