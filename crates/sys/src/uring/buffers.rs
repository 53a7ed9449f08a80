//! The buffers that the kernel receives into.
//!
//! ```text
//!   in the ring ---- a receive completes ----> in a connection's chain
//!        ^                                              |
//!        +---- its bytes have been taken or moved ------+
//! ```
//!
//! The kernel takes buffers from the ring in the order in which they were put there. Few buffers go round faster and stay
//! in the cache, so the ring begins small and grows when it ran dry. Memory for all of them is one allocation whose pages
//! exist once they are used.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use io_uring::types::BufRingEntry;

use super::ring::{Ring, explained};

/// The size of a buffer.
pub(super) const BYTES: usize = 4096;

/// How many buffers there are at first.
const FIRST: u16 = 64;

/// How many there are at most: the number of places in the ring, a power of two.
const MOST: u16 = 1024;

/// The name of the group, for the operations that receive.
pub(super) const GROUP: u16 = 0;

const NONE: u16 = u16::MAX;

const PAGE: usize = 4096;

pub(super) struct Buffers {
    places: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
    count: u16,
    slots: Vec<Slot>,
    /// How many chains hold a buffer, and how many buffers they hold.
    chains: u16,
    chained: u16,
    /// The kernel may still use the memory.
    immortal: bool,
}

// SAFETY: both allocations belong to this value alone, and whoever shares them is the kernel, which does not care for threads.
unsafe impl Send for Buffers {}

/// What a filled buffer holds, and which one follows it in its chain.
#[derive(Clone, Copy)]
struct Slot {
    begin: u16,
    end: u16,
    next: u16,
}

/// Filled buffers in the order of their bytes.
#[derive(Debug)]
pub(super) struct Chain {
    first: u16,
    last: u16,
    buffers: u16,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { first: NONE, last: NONE, buffers: 0 }
    }
}

impl Chain {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// How many buffers it holds.
    pub(super) fn buffers(&self) -> u16 {
        self.buffers
    }
}

impl Buffers {
    /// Buffers for the receives of `ring`, which must be dropped before them.
    pub(super) fn new(ring: &Ring) -> io::Result<Buffers> {
        let mut buffers = Buffers {
            places: allocate(places_layout(), alloc_zeroed).cast(),
            memory: allocate(memory_layout(), alloc),
            tail: 0,
            count: 0,
            slots: Vec::new(),
            chains: 0,
            chained: 0,
            immortal: false,
        };
        let address = buffers.places.as_ptr() as u64;
        // SAFETY: the places are page-aligned, MOST of them, zeroed, and freed after the ring is closed.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, MOST, GROUP, 0) }
            .map_err(|error| explained("io_uring_register", error))?;
        buffers.add(FIRST);
        Ok(buffers)
    }

    /// Doubles the number of buffers; false when there are as many as there may be.
    pub(super) fn grow(&mut self) -> bool {
        let more = self.count.min(MOST - self.count);
        self.add(more);
        more > 0
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Whether the filled buffers belong to many connections, and not many to a few.
    pub(super) fn are_scattered(&self) -> bool {
        self.chained < 2 * self.chains
    }

    /// The memory outlives this value, because the kernel may still use it.
    pub(super) fn never_free(&mut self) {
        self.immortal = true;
    }

    /// As `never_free`, where a leak checker sees that it is meant.
    pub(super) fn keep_for_ever(self) {
        static KEPT: Mutex<Vec<Buffers>> = Mutex::new(Vec::new());
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    fn add(&mut self, more: u16) {
        for id in self.count..self.count + more {
            self.slots.push(Slot { begin: 0, end: 0, next: NONE });
            self.give_back(id);
        }
        self.count += more;
    }

    /// Puts a buffer into the ring.
    fn give_back(&mut self, id: u16) {
        let address = self.address(id) as u64;
        let place = self.places.as_ptr().wrapping_add(usize::from(self.tail & (MOST - 1)));
        // SAFETY: the place is below MOST, which is how many there are. The kernel reads a place only when the tail has
        // passed it, and no buffer is in the ring twice, so the tail is at most MOST ahead of the kernel.
        let entry = unsafe { &mut *place };
        entry.set_addr(address);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first place is valid and initialised; its unused field is the ring's tail.
        let tail = unsafe { BufRingEntry::tail(self.places.as_ptr()) };
        // SAFETY: it is aligned, and valid as long as the places are; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Puts a buffer back that the kernel took and did not fill.
    pub(super) fn returned(&mut self, id: u16) {
        if id < self.count {
            self.give_back(id);
        }
    }

    /// Appends a buffer that the kernel filled with `count` bytes.
    pub(super) fn append(&mut self, chain: &mut Chain, id: u16, count: usize) {
        assert!(id < self.count && count <= BYTES, "the kernel filled buffer {id} with {count} bytes");
        self.slots[usize::from(id)] = Slot { begin: 0, end: count as u16, next: NONE };
        self.chained += 1;
        match chain.last {
            NONE => {
                chain.first = id;
                self.chains += 1;
            }
            last => self.slots[usize::from(last)].next = id,
        }
        chain.last = id;
        chain.buffers += 1;
    }

    /// Moves bytes out, and returns how many; buffers that are empty then go back into the ring.
    pub(super) fn take(&mut self, chain: &mut Chain, target: &mut [u8]) -> usize {
        let mut taken = 0;
        while chain.first != NONE && taken < target.len() {
            let bytes = self.bytes(chain.first);
            let count = bytes.len().min(target.len() - taken);
            target[taken..taken + count].copy_from_slice(&bytes[..count]);
            taken += count;
            self.consume(chain, count);
        }
        taken
    }

    /// Moves all bytes out.
    pub(super) fn take_all(&mut self, chain: &mut Chain, target: &mut VecDeque<u8>) {
        while chain.first != NONE {
            let bytes = self.bytes(chain.first);
            target.extend(bytes);
            let count = bytes.len();
            self.consume(chain, count);
        }
    }

    /// Gives the buffers of a chain back, with whatever is in them.
    pub(super) fn discard(&mut self, mut chain: Chain) {
        while chain.first != NONE {
            let count = self.bytes(chain.first).len();
            self.consume(&mut chain, count);
        }
    }

    fn consume(&mut self, chain: &mut Chain, count: usize) {
        let id = chain.first;
        let slot = &mut self.slots[usize::from(id)];
        slot.begin += count as u16;
        if slot.begin == slot.end {
            chain.buffers -= 1;
            self.chained -= 1;
            chain.first = slot.next;
            if chain.first == NONE {
                chain.last = NONE;
                self.chains -= 1;
            }
            self.give_back(id);
        }
    }

    fn bytes(&self, id: u16) -> &[u8] {
        let slot = self.slots[usize::from(id)];
        let begin = self.address(id).wrapping_add(usize::from(slot.begin));
        // SAFETY: the buffer is not in the ring, so the kernel does not write to it; it wrote the first `end` bytes, and
        // `end` is at most BYTES.
        unsafe { std::slice::from_raw_parts(begin, usize::from(slot.end - slot.begin)) }
    }

    fn address(&self, id: u16) -> *mut u8 {
        debug_assert!(id < MOST);
        self.memory.as_ptr().wrapping_add(usize::from(id) * BYTES)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.immortal {
            return;
        }
        // SAFETY: it was allocated with this layout, and the ring that the kernel found it by is closed.
        unsafe { dealloc(self.places.as_ptr().cast(), places_layout()) };
        // SAFETY: as above; the provider drops this only when no receive is under way.
        unsafe { dealloc(self.memory.as_ptr(), memory_layout()) };
    }
}

fn places_layout() -> Layout {
    Layout::from_size_align(usize::from(MOST) * size_of::<BufRingEntry>(), PAGE).expect("a small size")
}

fn memory_layout() -> Layout {
    Layout::from_size_align(usize::from(MOST) * BYTES, PAGE).expect("a small size")
}

fn allocate(layout: Layout, allocate: unsafe fn(Layout) -> *mut u8) -> NonNull<u8> {
    // SAFETY: it is one of std's functions, which want a size that is not zero, and neither layout's is.
    let place = unsafe { allocate(layout) };
    NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout))
}
