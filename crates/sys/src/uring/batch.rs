//! Small sends that leave together, with the next enter.
//!
//! Each is told not to wait (MSG_DONTWAIT), so it is over when the enter returns; to send everything or complain
//! (MSG_WAITALL); and to be silent about success. So the bytes need to live no longer than the enter, and a send costs
//! neither a system call nor a completion.
//!
//! A connection has at most one send in a batch: of two, the second might go when the first was cut short.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};
use ropewalk_proto::{Key, Outbox};

use super::ring::Ring;
use super::token;

/// What is larger goes to the system at once: it is in the cache now, and one call more counts for little.
pub(super) const SMALL: usize = 4096;

/// How many bytes are collected before they are sent anyway.
const BYTES: usize = 256 * 1024;

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[derive(Default)]
pub(super) struct Batch {
    sends: Vec<Send>,
    bytes: Vec<u8>,
    /// Whether the kernel has been told of the sends, so that nothing may move.
    pushed: bool,
}

/// One connection's part.
#[derive(Clone, Copy)]
pub(super) struct Send {
    pub(super) key: Key,
    fd: RawFd,
    begin: usize,
    len: usize,
}

/// Where a connection's part stands, or stood in an earlier batch: it is the connection's if the key there is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place(u32);

impl Batch {
    /// Whether a connection has a part in this batch.
    pub(super) fn holds(&self, key: Key, place: Place) -> bool {
        self.sends.get(place.0 as usize).is_some_and(|send| send.key == key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// Whether sends can be added: not while the kernel is being told.
    pub(super) fn is_open(&self) -> bool {
        !self.pushed
    }

    /// Takes the outbox in, behind what the connection has here already; false when that would be too much.
    pub(super) fn add(&mut self, key: Key, fd: RawFd, place: &mut Place, outbox: &mut Outbox) -> bool {
        let before = if self.holds(key, *place) { self.sends[place.0 as usize].len } else { 0 };
        if before + outbox.len() > SMALL {
            return false;
        }
        if before == 0 {
            *place = Place(self.sends.len() as u32);
            self.sends.push(Send { key, fd, begin: self.bytes.len(), len: 0 });
        }
        let send = &mut self.sends[place.0 as usize];
        if send.begin + send.len != self.bytes.len() {
            // Others came between: the part moves to the end.
            let begin = self.bytes.len();
            self.bytes.extend_from_within(send.begin..send.begin + send.len);
            send.begin = begin;
        }
        send.len += outbox.len();
        while !outbox.is_empty() {
            let count = outbox.front().len();
            self.bytes.extend_from_slice(outbox.front());
            outbox.advance(count);
        }
        true
    }

    /// Forgets a connection's part.
    pub(super) fn withdraw(&mut self, key: Key, place: Place) {
        if self.holds(key, place) && !self.pushed {
            self.sends[place.0 as usize].len = 0;
        }
    }

    /// Queues the sends, unless that was done before; nothing moves until `finish`.
    pub(super) fn push(&mut self, ring: &mut Ring) {
        if std::mem::replace(&mut self.pushed, !self.sends.is_empty()) {
            return;
        }
        for (index, send) in self.sends.iter().enumerate().filter(|(_, send)| send.len > 0) {
            let start = &raw const self.bytes[send.begin];
            let entry = opcode::Send::new(types::Fd(send.fd), start, send.len as u32).flags(FLAGS).build();
            ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(token::of_send(index as u32)));
        }
    }

    /// A send that complained, and what it was to send.
    pub(super) fn send(&self, index: u32) -> Option<(Send, &[u8])> {
        let send = *self.sends.get(index as usize)?;
        Some((send, &self.bytes[send.begin..send.begin + send.len]))
    }

    /// The kernel has taken all sends: whoever did not complain has been sent.
    pub(super) fn finish(&mut self) {
        if self.pushed {
            self.clear();
        }
    }

    /// Forgets everything, for a new ring that was told nothing; the sends stay when `keep` is set.
    pub(super) fn reset(&mut self, keep: bool) {
        self.pushed = false;
        if !keep {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.sends.clear();
        self.bytes.clear();
        self.pushed = false;
    }
}
