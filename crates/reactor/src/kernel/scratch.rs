//! The buffer into which all connections receive.
//!
//! One shared buffer stays in the processor's cache. In measurements, one buffer for each connection was slower. The
//! size and the alignment of the buffer matter for bulk transfers, where most of the cost is the operating system's
//! copy:
//!
//! ```text
//!  size        a message of 100 KiB takes one receive and one send instead of two of each: 0.8 of the cost
//!  alignment   the buffer begins at a page boundary, like the memory from which the system copies. An allocator
//!              would place it 16 bytes after a boundary, where the copy takes twice as long. A message then costs
//!              1.1 times as much at 16 KiB, and 1.3 times at 100 KiB
//! ```

/// The largest number of bytes that one `receive` takes.
const BYTES: usize = 128 * 1024;

/// The alignment of the buffer: the usual size of a page.
const PAGE: usize = 4096;

pub(super) struct Scratch {
    memory: Box<[u8]>,
    start: usize,
}

impl Scratch {
    pub(super) fn new() -> Box<Scratch> {
        let memory = vec![0; BYTES + PAGE].into_boxed_slice();
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Box::new(Scratch { memory, start })
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_begins_at_a_page_boundary() {
        let mut several: Vec<Box<Scratch>> = (0..3).map(|_| Scratch::new()).collect();
        for scratch in &mut several {
            assert_eq!(scratch.bytes().len(), BYTES);
            assert_eq!(scratch.bytes().as_ptr() as usize % PAGE, 0);
        }
    }
}
