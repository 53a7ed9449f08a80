//! Sends that the kernel makes from our memory, without a copy of its own: for who asked for them, from a size on.
//!
//! ```text
//!   handed over -- enter --> answered: so much was sent -----> notified: the kernel needs the memory no more
//!                            the rest waits for room           its slot is freed
//! ```
//!
//! Like those of the batch, each is told not to wait, so it is answered within the enter that submits it. The bytes are in its
//! slot until the notification, whatever becomes of the connection: until the peer's system has acknowledged them, they may be
//! sent again. What is not sent yet is among the unsent bytes of the connection, which are handed over again when there is
//! room, and which closing, resetting and ending the sending direction treat like any others.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, Bytes};
use io_uring::{cqueue, opcode, types};
use ropewalk_proto::{Key, Outbox, Slab};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use super::ring::Completion;
use super::source::{Connection, End, Source, Unsent};
use super::{Uring, stale, token};

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// More is handed over in parts: the kernel accounts for all of it before it looks how much the socket takes.
const MOST: usize = 1024 * 1024;

/// How many chunks of an outbox are looked at.
const CHUNKS: usize = 16;

/// The sends, and from which size on there are any.
#[derive(Default)]
pub(super) struct ZeroCopy {
    /// `None`: never.
    from: Option<usize>,
    sends: Slab<Send>,
}

struct Send {
    source: Key,
    /// For the kernel alone.
    _bytes: Bytes,
    /// The kernel has said how much was sent, and may still read.
    answered: bool,
}

impl ZeroCopy {
    pub(super) fn set(&mut self, from: Option<usize>) {
        self.from = from;
    }

    /// Whether the kernel has any of our memory.
    pub(super) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// The place of the first chunk in an outbox that is worth it.
    fn worthy(&self, outbox: &Outbox) -> Option<usize> {
        self.from.filter(|from| outbox.len() >= *from)?;
        let mut slices = [IoSlice::new(&[]); CHUNKS];
        let filled = outbox.slices(&mut slices);
        slices[..filled].iter().position(|slice| self.is_worth(slice))
    }

    fn is_worth(&self, bytes: &[u8]) -> bool {
        self.from.is_some_and(|from| bytes.len() >= from)
    }

    /// Forgets what the kernel was not told of, and returns whose that was.
    fn take_untold(&mut self) -> Vec<Key> {
        let untold = self.sends.iter().filter(|(_, send)| !send.answered).map(|(key, _)| key);
        let untold: Vec<_> = untold.collect();
        untold.into_iter().filter_map(|key| Some(self.sends.remove(key)?.source)).collect()
    }

    /// The kernel may read the bytes whatever becomes of the ring.
    pub(super) fn keep_for_ever(&mut self) {
        // Where a leak checker sees that it is meant.
        static KEPT: Mutex<Vec<Slab<Send>>> = Mutex::new(Vec::new());
        if !self.sends.is_empty() {
            KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.sends));
        }
    }
}

impl Uring {
    /// Takes what is large out of the front of an outbox, behind what is small. Returns whether it did.
    pub(super) fn send_uncopied(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<bool> {
        let Some(place) = self.zero_copy.worthy(outbox) else { return Ok(false) };
        let connection = self.sources.get_mut(key).ok_or_else(stale)?.as_connection()?;
        if connection.only_copies || !send_front(&connection.fd, outbox, place)? {
            return Ok(false);
        }
        let Some(bytes) = outbox.take_chunk() else { return Ok(false) };
        connection.keep_unsent(Unsent { bytes, shutdown: false, handed_over: false });
        connection.writable = false;
        connection.awaits_write = !outbox.is_empty();
        self.hand_over(key);
        Ok(true)
    }

    /// A connection has room: its unsent bytes are handed over, or copied.
    pub(super) fn send_unsent(&mut self, key: Key) {
        let Ok(connection) = self.sources.get_mut(key).ok_or_else(stale).and_then(Source::as_connection) else {
            return;
        };
        let only_copies = connection.only_copies;
        match connection.unsent() {
            Some(unsent) if unsent.handed_over => {}
            Some(unsent) if !only_copies && self.zero_copy.is_worth(&unsent.bytes) => self.hand_over(key),
            _ => connection.has_room(),
        }
    }

    /// Hands the unsent bytes of a connection over.
    fn hand_over(&mut self, key: Key) {
        let Ok(connection) = self.source_mut(key).and_then(Source::as_connection) else { return };
        let fd = types::Fd(connection.fd.as_raw_fd());
        let Some(unsent) = connection.unsent_mut() else { return };
        unsent.handed_over = true;
        let bytes = unsent.bytes.slice(..unsent.bytes.len().min(MOST));
        // The bytes do not move with their handle.
        let (start, length) = (bytes.as_ptr(), bytes.len() as u32);
        let send = self.zero_copy.sends.insert(Send { source: key, _bytes: bytes, answered: false });
        let entry = opcode::SendZc::new(fd, start, length).flags(FLAGS).build();
        self.ring.push(entry.user_data(token::of_zero_copy(send)));
    }

    pub(super) fn zero_copy_completed(&mut self, key: Key, completion: Completion) {
        let Some(send) = self.zero_copy.sends.get_mut(key) else { return };
        let source = send.source;
        send.answered = true;
        if !cqueue::more(completion.flags) {
            self.zero_copy.sends.remove(key);
        }
        if cqueue::notif(completion.flags) {
            return;
        }
        if let Ok(connection) = self.source_mut(source).and_then(Source::as_connection) {
            connection.answered(completion.result);
            self.look_at(source);
        }
    }

    /// On a new ring the kernel is told of what the old one was not told of. In a child all of it is the parent's to send, when
    /// it does not go on.
    pub(super) fn hand_over_anew(&mut self, goes_on: bool) {
        if goes_on {
            let untold = self.zero_copy.take_untold();
            self.zero_copy.keep_for_ever();
            return untold.into_iter().for_each(|key| self.hand_over(key));
        }
        self.zero_copy.sends = Slab::new();
        for (_, source) in self.sources.iter_mut() {
            if let Ok(connection) = source.as_connection() {
                if connection.has_handed_over() {
                    connection.take_unsent();
                }
            }
        }
    }
}

/// Sends the first so many chunks of an outbox, which are small: a copy of them costs least. Returns whether all went.
fn send_front(fd: &OwnedFd, outbox: &mut Outbox, count: usize) -> io::Result<bool> {
    const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT).union(SendFlags::MORE);
    if count == 0 {
        return Ok(true);
    }
    let mut slices = [IoSlice::new(&[]); CHUNKS];
    let filled = outbox.slices(&mut slices).min(count);
    let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
    let taken = match sendmsg(fd, &slices[..filled], &mut SendAncillaryBuffer::default(), FLAGS) {
        Err(Errno::AGAIN | Errno::INTR) => 0,
        outcome => outcome?,
    };
    outbox.advance(taken);
    Ok(taken == offered)
}

impl Connection {
    /// The kernel said how much it sent of what it was handed.
    fn answered(&mut self, result: i32) {
        let Some(mut unsent) = self.take_unsent() else { return };
        unsent.handed_over = false;
        match -result {
            ..=0 => {
                unsent.bytes.advance(unsent.bytes.len().min(result as usize));
                let is_all = unsent.bytes.is_empty();
                self.keep_unsent(unsent);
                if is_all {
                    self.has_room();
                }
            }
            libc::EAGAIN | libc::EINTR => self.keep_unsent(unsent),
            // Too much memory is locked at the moment: this one is copied.
            libc::ENOMEM | libc::ENOBUFS => {
                self.keep_unsent(unsent);
                self.has_room();
            }
            libc::EOPNOTSUPP | libc::EINVAL => {
                self.only_copies = true;
                self.keep_unsent(unsent);
                self.has_room();
            }
            number => self.end = End::Broken(Errno::from_raw_os_error(number)),
        }
    }
}
