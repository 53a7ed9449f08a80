//! Unsent bytes of closed connections.

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};
use ropewalk_proto::Key;

use super::arming::poll_on;
use super::slot::Unsent;
use super::{Uring, token};
use crate::seam::Interest;

/// The time for which a closed connection waits to send its last bytes.
static PATIENCE: types::Timespec = types::Timespec::new().sec(30);

/// The unsent bytes of a closed connection, with a multishot poll for room in the send buffer.
pub(super) struct Draining {
    fd: OwnedFd,
    unsent: Unsent,
    /// True if a cancel is in flight.
    cancelled: bool,
}

impl Uring {
    /// Waits until the last bytes of a closed connection can be sent.
    pub(super) fn drain_closed(&mut self, fd: OwnedFd, unsent: Unsent) {
        let raw = types::Fd(fd.as_raw_fd());
        let key = self.draining.insert(Draining { fd, unsent, cancelled: false });
        let entry = poll_on(raw, Interest::WRITE).user_data(token::of_drain(key));
        self.ring.push(entry.flags(squeue::Flags::IO_LINK));
        self.ring.push(opcode::LinkTimeout::new(&raw const PATIENCE).build().user_data(token::IGNORED));
    }

    /// Handles a completion of the poll of a closed connection. `ended` is true for the last one.
    pub(super) fn drain_completed(&mut self, key: Key, result: i32, ended: bool) {
        if ended {
            if let Some(linger) = self.draining.remove(key) {
                self.drain_ended(linger, result);
            }
            return;
        }
        let Some(linger) = self.draining.get_mut(key) else { return };
        let over = !matches!(linger.unsent.send(&linger.fd), Ok(false));
        if over && !std::mem::replace(&mut linger.cancelled, true) {
            self.push_cancel(token::of_drain(key));
        }
    }

    /// Handles the end of a poll. Usually the last bytes have been sent, or `PATIENCE` is over.
    fn drain_ended(&mut self, mut linger: Draining, result: i32) {
        let finished = linger.unsent.send(&linger.fd);
        if result != -libc::ECANCELED && !self.ending && matches!(finished, Ok(false)) {
            // The kernel ended the poll although bytes are left, so the poll is begun again.
            self.drain_closed(linger.fd, linger.unsent);
        }
    }

    /// Begins all polls again on another ring if `goes_on` is set, and drops their connections otherwise.
    pub(super) fn restart_drains(&mut self, goes_on: bool) {
        let all: Vec<_> = self.draining.iter().map(|(key, _)| key).collect();
        for key in all {
            if let Some(linger) = self.draining.remove(key).filter(|_| goes_on) {
                self.drain_closed(linger.fd, linger.unsent);
            }
        }
    }
}
