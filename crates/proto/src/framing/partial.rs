//! The beginning of a frame, kept until its end arrives.

/// Memory up to this size is kept for the next frame that crosses a chunk; more is given back, for many connections idle.
const KEPT: usize = 4096;

/// A buffer for one unfinished frame, or for the finished one that was handed out last.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: Vec<u8>,
    /// Whether `bytes` is a frame that was handed out, to be forgotten when the next is asked for.
    handed_out: bool,
}

impl Partial {
    /// Forgets the frame that was handed out last, if it stood here.
    pub(super) fn release(&mut self) {
        if self.handed_out {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.handed_out = false;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// The next `length` bytes of the stream in one piece, or `None` when `input` ends before them.
    pub(super) fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], length: usize) -> Option<&'a [u8]> {
        match input.split_at_checked(length - self.bytes.len()) {
            Some((end, rest)) => {
                *input = rest;
                Some(self.complete(end))
            }
            None => {
                self.append(std::mem::take(input), length);
                None
            }
        }
    }

    /// The frame that ends with `end`: `end` itself when nothing came before it.
    pub(super) fn complete<'a, 'i: 'a>(&'a mut self, end: &'i [u8]) -> &'a [u8] {
        if self.bytes.is_empty() {
            return end;
        }
        self.append(end, self.bytes.len() + end.len());
        self.hand_out()
    }

    /// What is here, which the next `release` forgets.
    pub(super) fn hand_out(&mut self) -> &[u8] {
        self.handed_out = true;
        &self.bytes
    }

    /// Keeps `more` too. Memory grows by doubling, but not beyond `bound`, the size of the whole frame.
    pub(super) fn append(&mut self, more: &[u8], bound: usize) {
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(bound.min(2 * self.bytes.capacity()));
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// Keeps only the last `count` bytes of what is here and `more`.
    pub(super) fn keep_last(&mut self, more: &[u8], count: usize) {
        let fresh = &more[more.len().saturating_sub(count)..];
        let old = self.bytes.len().saturating_sub(count - fresh.len());
        self.bytes.drain(..old);
        self.append(fresh, count);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much of an unfinished frame is here.
    pub(super) fn len(&self) -> usize {
        if self.handed_out { 0 } else { self.bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_doubles_up_to_the_frame_and_a_large_block_is_given_back() {
        let mut partial = Partial::default();
        partial.append(&[1; 6000], 10_000);
        partial.append(&[2; 1], 10_000);
        assert_eq!(partial.bytes.capacity(), 10_000);
        partial.hand_out();
        partial.release();
        assert_eq!((partial.len(), partial.bytes.capacity()), (0, KEPT));
    }

    #[test]
    fn the_last_bytes_are_kept_across_chunks() {
        let mut partial = Partial::default();
        for (more, kept) in
            [(&b"a"[..], &b"a"[..]), (b"bc", b"abc"), (b"d", b"bcd"), (b"", b"bcd"), (b"123456", b"456")]
        {
            partial.keep_last(more, 3);
            assert_eq!(partial.bytes(), kept);
        }
        partial.keep_last(b"xyz", 0);
        assert_eq!(partial.bytes(), b"");
    }
}
