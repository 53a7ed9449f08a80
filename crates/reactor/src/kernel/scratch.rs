//! The buffer into which all connections receive.
//!
//! One shared buffer stays hot in the cache. One buffer a connection was measured to be slower. Its size and its alignment
//! matter for bulk transfers, where most of the cost is the operating system's copy:
//!
//! ```text
//!   size        a message of 100 KiB is one receive and one send, instead of two of each: 0.8 of the cost
//!   alignment   the buffer begins at a page boundary, as the pages do from which the copy is made. An allocator would
//!               put it 16 bytes into a page, and then the copy takes twice as long: 1.1 of the cost at 16 KiB, 1.3 at
//!               100 KiB
//! ```

/// The largest number of bytes that one `receive` takes.
const BYTES: usize = 128 * 1024;

/// A multiple of the page size of every supported system.
const PAGE: usize = 4096;

/// The default buffer holds no memory until it is used.
#[derive(Default)]
pub(super) struct Scratch {
    memory: Box<[u8]>,
    start: usize,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        let memory = vec![0; BYTES + PAGE].into_boxed_slice();
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Scratch { memory, start }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            *self = Scratch::new();
        }
        &mut self.memory[self.start..][..BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_begins_at_a_page_boundary() {
        let mut several: Vec<Scratch> = (0..3).map(|_| Scratch::default()).collect();
        for scratch in &mut several {
            assert_eq!(scratch.bytes().len(), BYTES);
            assert_eq!(scratch.bytes().as_ptr() as usize % PAGE, 0);
        }
    }
}
