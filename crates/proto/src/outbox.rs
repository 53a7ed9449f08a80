//! The send queue: bytes that a transport has accepted and not yet handed to the operating system.
//!
//! ```text
//!   sealed: [chunk][chunk][chunk]   tail: |sent|....unsent....|  <- write appends here
//!            ^ leaves first
//! ```
//!
//! Small writes are copied one after another into the open tail, so a callback's many small writes leave as one slice.
//! An owned chunk is queued without a copy. A tail that reaches [`SEGMENT`] bytes is sealed, so memory is freed while a
//! long queue drains.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// The size at which the open tail is sealed and a new tail is started.
const SEGMENT: usize = 64 * 1024;

/// A first-in, first-out queue of bytes to send.
///
/// Calls no callbacks, except the destructors of the chunks that [`write_bytes`](Outbox::write_bytes) took. May be sent
/// to another thread.
///
/// ```
/// use std::io::IoSlice;
/// use bytes::Bytes;
/// use ropewalk_proto::Outbox;
///
/// let mut outbox = Outbox::new();
/// outbox.write(b"head ");
/// outbox.write_bytes(Bytes::from(vec![b'x'; 5000])); // kept, not copied
/// let mut slices = [IoSlice::new(&[]); 8];
/// assert_eq!((outbox.slices(&mut slices), outbox.is_contiguous()), (2, false));
/// outbox.advance(5); // the head has left
/// assert_eq!((outbox.front().len(), outbox.len()), (5000, 5000));
/// assert_eq!(outbox.take_chunk().map(|chunk| chunk.len()), Some(5000));
/// assert!(outbox.is_empty());
/// ```
#[derive(Default)]
pub struct Outbox {
    sealed: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// The number of bytes of `tail` that were sent already.
    tail_sent: usize,
    len: usize,
}

impl Outbox {
    /// The size below which an owned chunk is copied into the tail, because a slot in a vectored write costs more.
    pub const COPY_BELOW: usize = 1024;

    /// Creates an empty outbox. It allocates nothing.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Queues a copy of `bytes`.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if bytes.len() <= self.tail.capacity() - self.tail.len() {
            return self.tail.extend_from_slice(bytes);
        }
        self.write_beyond_capacity(bytes);
    }

    /// Lets `fill` write into a slice of `room` bytes behind the queue, and queues as many of them as `fill` returns.
    ///
    /// The slice is zeroed. Use this for bytes that are produced in place, such as encrypted ones.
    ///
    /// ```
    /// use ropewalk_proto::Outbox;
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.write(b"head ");
    /// outbox.write_with(16, |room| {
    ///     room[..4].copy_from_slice(b"body");
    ///     4
    /// });
    /// assert_eq!(outbox.front(), b"head body");
    /// ```
    ///
    /// # Panics
    /// If `fill` returns more than `room`.
    pub fn write_with(&mut self, room: usize, fill: impl FnOnce(&mut [u8]) -> usize) {
        if room > self.tail.capacity() - self.tail.len() {
            self.grow_tail(room);
        }
        let filled = self.tail.len();
        self.tail.resize(filled + room, 0);
        let written = fill(&mut self.tail[filled..]);
        assert!(written <= room, "{written} bytes were written into a slice of {room}");
        self.tail.truncate(filled + written);
        self.len += written;
    }

    /// Grows the tail by at least `count` bytes up to [`SEGMENT`] bytes, or starts a new one.
    fn grow_tail(&mut self, count: usize) {
        if self.tail.len() + count > SEGMENT && !self.tail.is_empty() {
            self.seal();
        }
        let filled = self.tail.len();
        let capacity = (2 * self.tail.capacity()).clamp(filled + count, SEGMENT.max(filled + count));
        self.tail.reserve_exact(capacity - filled);
    }

    /// Grows the tail up to [`SEGMENT`] bytes, or starts a new one.
    #[inline(never)]
    fn write_beyond_capacity(&mut self, bytes: &[u8]) {
        if bytes.len() > SEGMENT {
            if !self.tail.is_empty() {
                self.seal();
            }
            return self.sealed.push_back(Bytes::copy_from_slice(bytes));
        }
        self.grow_tail(bytes.len());
        self.tail.extend_from_slice(bytes);
    }

    /// Queues `chunk`. It is copied only if it is shorter than [`Outbox::COPY_BELOW`].
    pub fn write_bytes(&mut self, chunk: Bytes) {
        if chunk.len() < Outbox::COPY_BELOW {
            return self.write(&chunk);
        }
        if !self.tail.is_empty() {
            self.seal();
        }
        self.len += chunk.len();
        self.sealed.push_back(chunk);
    }

    /// Fills `slices` from the front of the queue, for a vectored write. Returns the number of slices filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let unsent = &self.tail[self.tail_sent..];
        let chunks = self.sealed.iter().map(|chunk| &chunk[..]);
        let all = chunks.chain((!unsent.is_empty()).then_some(unsent));
        slices.iter_mut().zip(all).map(|(slot, slice)| *slot = IoSlice::new(slice)).count()
    }

    /// Removes the first `count` bytes, which were sent.
    ///
    /// # Panics
    /// If fewer than `count` bytes are queued.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "advanced by {count} bytes, but only {} were queued", self.len);
        self.len -= count;
        let mut left = count;
        while let Some(chunk) = self.sealed.front_mut() {
            if left < chunk.len() {
                return chunk.advance(left);
            }
            left -= chunk.len();
            self.sealed.pop_front();
        }
        self.tail_sent += left;
        if self.tail_sent == self.tail.len() {
            self.tail.clear();
            self.tail_sent = 0;
        }
    }

    /// Removes and returns the first chunk, for an event provider that must own the bytes in flight.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        if self.sealed.is_empty() && !self.tail.is_empty() {
            self.seal();
        }
        let chunk = self.sealed.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Removes all bytes. The tail's memory is kept for the next write.
    #[inline]
    pub fn clear(&mut self) {
        if !self.sealed.is_empty() {
            self.forget_sealed();
        }
        self.tail.clear();
        self.tail_sent = 0;
        self.len = 0;
    }

    #[cold]
    fn forget_sealed(&mut self) {
        self.sealed = VecDeque::new();
    }

    /// Returns the first contiguous bytes: an empty slice if nothing is queued.
    #[inline]
    pub fn front(&self) -> &[u8] {
        match self.sealed.front() {
            Some(chunk) => chunk,
            None => &self.tail[self.tail_sent..],
        }
    }

    /// Returns everything queued if all of it was copied into one segment, as nearly every reply is, and `None`
    /// otherwise.
    ///
    /// ```
    /// use ropewalk_proto::Outbox;
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.write(b"+OK ");
    /// outbox.write(b"done\r\n");
    /// assert_eq!(outbox.one_segment(), Some(&b"+OK done\r\n"[..]));
    /// outbox.clear(); // sent
    /// assert!(outbox.is_empty());
    /// ```
    #[inline]
    pub fn one_segment(&self) -> Option<&[u8]> {
        // The part that was sent is never longer than the tail.
        if self.sealed.is_empty() { self.tail.get(self.tail_sent..) } else { None }
    }

    /// Returns whether [`Outbox::front`] is everything that is queued.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.front().len() == self.len
    }

    /// Returns the number of bytes queued.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn seal(&mut self) {
        let mut chunk = Bytes::from(std::mem::take(&mut self.tail));
        chunk.advance(std::mem::take(&mut self.tail_sent));
        self.sealed.push_back(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let mut slots = [IoSlice::new(&[]); 3];
            let filled = outbox.slices(&mut slots);
            assert!(filled > 0, "{} bytes queued but no slice", outbox.len());
            let mut taken = 0;
            for slice in &slots[..filled] {
                let part = slice.len().min(step - taken);
                out.extend_from_slice(&slice[..part]);
                taken += part;
            }
            outbox.advance(taken);
        }
        out
    }

    #[test]
    fn bytes_leave_in_the_order_of_the_writes() {
        let small = vec![1u8; 100];
        let middle = vec![2u8; 5000];
        let large = vec![3u8; 3 * SEGMENT + 1];
        for step in [1000, 4096, SEGMENT, 10 * SEGMENT] {
            let mut outbox = Outbox::new();
            let mut expected = Vec::new();
            for _ in 0..20 {
                outbox.write(&small);
                outbox.write_bytes(Bytes::from(middle.clone()));
                outbox.write_bytes(Bytes::from(small.clone()));
                outbox.write(&large);
                for part in [&small, &middle, &small, &large] {
                    expected.extend_from_slice(part);
                }
            }
            assert_eq!(outbox.len(), expected.len());
            assert!(drain(&mut outbox, step) == expected);
        }
    }

    #[test]
    fn a_write_after_a_partial_send_is_queued_behind_it() {
        let mut outbox = Outbox::new();
        outbox.write(b"abcdef");
        outbox.advance(2);
        outbox.write_bytes(Bytes::from(vec![b'x'; Outbox::COPY_BELOW]));
        outbox.write(b"end");
        assert_eq!(outbox.front(), b"cdef");
        outbox.advance(4 + Outbox::COPY_BELOW);
        assert_eq!(outbox.front(), b"end");
    }

    #[test]
    fn take_chunk_returns_the_whole_queue_in_order() {
        let mut outbox = Outbox::new();
        outbox.write(b"one");
        outbox.write_bytes(Bytes::from(vec![b'2'; Outbox::COPY_BELOW]));
        outbox.advance(1);
        assert_eq!(outbox.take_chunk().unwrap(), "ne");
        assert_eq!(outbox.take_chunk().unwrap().len(), Outbox::COPY_BELOW);
        assert_eq!(outbox.take_chunk(), None);
        assert!(outbox.is_empty());
    }

    #[test]
    #[should_panic(expected = "advanced by 2 bytes, but only 1 were queued")]
    fn advancing_beyond_the_queue_panics() {
        let mut outbox = Outbox::new();
        outbox.write(b"x");
        outbox.advance(2);
    }
}
