//! A buffer for the beginning of a frame, until the end of the frame arrives.

/// The capacity that is kept for the next frame. More is freed, because most connections are idle most of the time.
const KEPT: usize = 4096;

/// A buffer for one unfinished frame, or for the frame that was returned last.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: Vec<u8>,
    /// Whether `bytes` is a frame that was returned, so that the next call discards it.
    returned: bool,
}

impl Partial {
    /// Discards the frame that was returned last, if it was buffered.
    pub(super) fn release(&mut self) {
        if self.returned {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.returned = false;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// Returns the next `length` bytes in one piece, or `None` if `input` ends before them.
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

    /// Returns the frame that ends with `end`. If nothing is buffered, that is `end` itself.
    pub(super) fn complete<'a, 'i: 'a>(&'a mut self, end: &'i [u8]) -> &'a [u8] {
        if self.bytes.is_empty() {
            return end;
        }
        self.append(end, self.bytes.len() + end.len());
        self.hand_out()
    }

    /// Returns the buffered bytes. The next [`release`](Partial::release) discards them.
    pub(super) fn hand_out(&mut self) -> &[u8] {
        self.returned = true;
        &self.bytes
    }

    /// Appends `more`. The capacity doubles, up to `bound`, which is the size of the whole frame.
    pub(super) fn append(&mut self, more: &[u8], bound: usize) {
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(bound.min(2 * self.bytes.capacity()));
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// Appends `more`, then keeps only the last `count` bytes.
    pub(super) fn keep_last(&mut self, more: &[u8], count: usize) {
        let fresh = &more[more.len().saturating_sub(count)..];
        let old = self.bytes.len().saturating_sub(count - fresh.len());
        self.bytes.drain(..old);
        self.append(fresh, count);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of buffered bytes of an unfinished frame.
    pub(super) fn len(&self) -> usize {
        if self.returned { 0 } else { self.bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_bounded_by_the_frame() {
        let mut partial = Partial::default();
        partial.append(&[1; 6000], 10_000);
        partial.append(&[2; 1], 10_000);
        assert_eq!(partial.bytes.capacity(), 10_000);
        partial.hand_out();
        partial.release();
        assert_eq!((partial.len(), partial.bytes.capacity()), (0, KEPT));
    }

    #[test]
    fn keep_last_keeps_bytes_across_chunks() {
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
