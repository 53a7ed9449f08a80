//! The one-shot poll of a source whose bytes and datagrams are taken by calls of our own.

use crate::seam::{Interest, Ready};

#[derive(Default)]
pub(super) struct Polling {
    /// The readiness that the poll in flight asks for.
    pub(super) polled: Interest,
    /// The result of the last poll, until it is reported.
    pub(super) fired: Ready,
    pub(super) awaits_write: bool,
}

impl Polling {
    /// Returns everything that the owner waits for. `reads` is whether it waits for arrivals.
    fn interest(&self, reads: bool) -> Interest {
        let mut interest = Interest::empty();
        interest.set(Interest::READ, reads);
        interest.set(Interest::WRITE, self.awaits_write);
        interest
    }

    /// Returns the interest to poll for. While a result waits for its report, this is nothing.
    pub(super) fn wanted(&self, reads: bool) -> Interest {
        if self.fired.is_empty() { self.interest(reads) } else { Interest::empty() }
    }

    /// Returns the readiness to report.
    pub(super) fn ready(&self, reads: bool) -> Ready {
        self.fired & Ready::from(self.interest(reads))
    }

    /// Clears the readiness that has been reported.
    pub(super) fn reported(&mut self) {
        self.awaits_write &= !self.fired.contains(Ready::WRITE);
        self.fired = Ready::empty();
    }

    /// Waits for WRITE, because an attempt to send found no room.
    pub(super) fn await_write(&mut self) {
        self.awaits_write = true;
        self.fired -= Ready::WRITE;
    }
}
