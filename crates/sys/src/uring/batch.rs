//! Small sends that leave together, with the next enter.
//!
//! Each send has MSG_DONTWAIT, so the send is over when the enter returns, and its bytes need not live longer. Each
//! send also has MSG_WAITALL, so it sends everything or fails, and only a failure is reported. So a send costs neither
//! a system call nor a completion.
//!
//! A connection has at most one send in a batch: a second one might go out after the first was partial.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};
use ropewalk_proto::{Key, Outbox};

use super::ring::Ring;
use super::token;

/// The size limit of a batched send. Larger sends are made at once: their bytes are in the cache, and one call more
/// matters little.
pub(super) const SMALL: usize = 4096;

/// The number of collected bytes at which the batch is sent without waiting for the next enter.
const BYTES: usize = 256 * 1024;

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[derive(Default)]
pub(super) struct Batch {
    sends: Vec<Send>,
    bytes: Vec<u8>,
    /// Whether the kernel has the sends. While it has them, their bytes must not move.
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

/// The index of a connection's part. It may be from an earlier batch, so it is valid only if the part there has the
/// same key.
#[derive(Clone, Copy, Default)]
pub(super) struct Place(u32);

impl Batch {
    /// Returns whether a connection has a part in this batch.
    pub(super) fn holds(&self, key: Key, place: Place) -> bool {
        self.sends.get(place.0 as usize).is_some_and(|send| send.key == key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// Returns whether sends can be added, which is false while the kernel has the batch.
    pub(super) fn is_open(&self) -> bool {
        !self.pushed
    }

    /// Appends the outbox to the connection's earlier bytes. Returns false if the send would be larger than `SMALL`.
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
            // Other parts follow, so this part moves to the end before it grows.
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

    /// Drops a connection's part.
    pub(super) fn withdraw(&mut self, key: Key, place: Place) {
        if self.holds(key, place) && !self.pushed {
            self.sends[place.0 as usize].len = 0;
        }
    }

    /// Queues the sends, unless they are queued already. The bytes must stay in place until `finish`.
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

    /// Returns a failed send with its bytes.
    pub(super) fn send(&self, index: u32) -> Option<(Send, &[u8])> {
        let send = *self.sends.get(index as usize)?;
        Some((send, &self.bytes[send.begin..send.begin + send.len]))
    }

    /// Completes the batch: all sends that did not fail have been sent.
    pub(super) fn finish(&mut self) {
        if self.pushed {
            self.clear();
        }
    }

    /// Prepares the batch for a new ring, to which no send has been pushed. Drops the sends unless `keep` is set.
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
