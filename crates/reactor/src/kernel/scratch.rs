//! The buffer that all connections receive into.
//!
//! One for all stays hot in the cache; each connection having its own was measured slower. Its size and its place in
//! memory matter for bulk, where most of a message's cost is the kernel's copy of it:
//!
//! ```text
//!   size     a message of 100 KiB is one receive and one send, not two of each: 0.8 of the cost
//!   place    it begins with a page, as the pages do that the kernel copies from. Where an allocator puts a buffer of this
//!            size by itself, 16 bytes into a page, the copy takes twice as long: 1.1 of the cost at 16 KiB, 1.3 at 100 KiB
//! ```

/// The most that one `receive` takes.
const BYTES: usize = 128 * 1024;

/// What the systems use, or a multiple of it.
const PAGE: usize = 4096;

/// The default one holds no memory until it is used.
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
    fn it_has_its_size_and_begins_with_a_page_wherever_the_allocator_puts_it() {
        let mut several: Vec<Scratch> = (0..3).map(|_| Scratch::default()).collect();
        for scratch in &mut several {
            assert_eq!(scratch.bytes().len(), BYTES);
            assert_eq!(scratch.bytes().as_ptr() as usize % PAGE, 0);
        }
    }
}
