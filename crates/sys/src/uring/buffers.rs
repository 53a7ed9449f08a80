//! The buffers that the kernel receives into.
//!
//! ```text
//!   in the ring ---- a receive completes ----> in a connection's chain -- lend --> with whoever keeps the chunk
//!        ^                                              |                                  |
//!        +---- its bytes have been taken or moved ------+                                  |
//!        +---- reclaim <---- among the returned ones <---- dropped, in whatever thread ----+
//! ```
//!
//! The kernel takes buffers from the ring in the order in which they were put there. In a small ring each buffer is
//! soon reused and stays in the cache, so the ring begins small and grows when it runs dry. All buffers are one
//! allocation, whose pages exist once they are used. The allocation lives until the last chunk lent from it is dropped.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use io_uring::types::BufRingEntry;

use super::ring::{Ring, explained};

/// The size of a buffer.
pub(super) const BYTES: usize = 4096;

/// The number of buffers at first.
const FIRST: u16 = 64;

/// The largest number of buffers: the number of places in the ring, a power of two.
const MOST: u16 = 1024;

/// The id of the buffer group, which each receive names.
pub(super) const GROUP: u16 = 0;

const NONE: u16 = u16::MAX;

const PAGE: usize = 4096;

/// The size below which bytes are copied, because lending them costs as much as a copy.
const LEND_FROM: usize = 1024;

/// The divisor of the number of buffers that may be lent at a time. The limit keeps chunks that a program holds from
/// starving the ring.
const LENT_PART: u16 = 4;

pub(super) struct Buffers {
    places: NonNull<BufRingEntry>,
    memory: Arc<Memory>,
    tail: u16,
    count: u16,
    slots: Vec<Slot>,
    /// The number of chains with a buffer. `chained` is the number of buffers in them.
    chains: u16,
    chained: u16,
    /// The number of buffers that are lent or not reclaimed yet.
    lent: u16,
    /// True while the kernel may still use the memory.
    immortal: bool,
}

// SAFETY: the places belong to this value and are shared only with the kernel, which does not depend on threads.
unsafe impl Send for Buffers {}

/// The bytes of all buffers.
struct Memory {
    start: NonNull<u8>,
    /// Lent buffers that are no longer needed.
    returned: Mutex<Vec<u16>>,
    /// Whether `returned` has any buffers. Each turn reads this flag without taking the lock.
    some_returned: AtomicBool,
}

// SAFETY: the allocation belongs to this value alone. A buffer is in one place at a time. A chain or a `Lent` only
// reads it. In the ring the kernel writes it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// The part of a lent chunk that keeps the memory alive.
struct Lent {
    memory: Arc<Memory>,
    id: u16,
    begin: u16,
    end: u16,
}

/// The contents of a filled buffer, and the next one in its chain.
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

    /// Returns the number of buffers in this chain.
    pub(super) fn buffers(&self) -> u16 {
        self.buffers
    }
}

impl Buffers {
    /// Allocates buffers for the receives of `ring`, which must be dropped before the buffers.
    pub(super) fn new(ring: &Ring) -> io::Result<Buffers> {
        let mut buffers = Buffers {
            places: allocate(places_layout(), alloc_zeroed).cast(),
            memory: Arc::new(Memory {
                start: allocate(memory_layout(), alloc),
                returned: Mutex::default(),
                some_returned: AtomicBool::new(false),
            }),
            tail: 0,
            count: 0,
            slots: Vec::new(),
            chains: 0,
            chained: 0,
            lent: 0,
            immortal: false,
        };
        let address = buffers.places.as_ptr() as u64;
        // SAFETY: the places are page-aligned, MOST of them, zeroed, and freed after the ring is closed.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, MOST, GROUP, 0) }
            .map_err(|error| explained("io_uring_register", error))?;
        buffers.add(FIRST);
        Ok(buffers)
    }

    /// Doubles the number of buffers. Returns false at the maximum.
    pub(super) fn grow(&mut self) -> bool {
        let more = self.count.min(MOST - self.count);
        self.add(more);
        more > 0
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Returns whether the filled buffers belong to many connections, and not to a few that have many buffers each.
    pub(super) fn are_scattered(&self) -> bool {
        self.chained < 2 * self.chains
    }

    /// Returns the number of buffers that are lent or not reclaimed yet.
    #[cfg(test)]
    pub(super) fn lent(&self) -> u16 {
        self.lent
    }

    /// Lends the bytes of a chain of one well-filled buffer. Returns `None` if a copy is better: for several buffers
    /// (the copy makes one delivery of them), for few bytes, and when many buffers are lent already.
    pub(super) fn lend(&mut self, chain: &mut Chain) -> Option<Bytes> {
        if chain.buffers != 1 || self.lent >= self.count / LENT_PART {
            return None;
        }
        let id = chain.first;
        let Slot { begin, end, .. } = self.slots[usize::from(id)];
        if usize::from(end - begin) < LEND_FROM {
            return None;
        }
        *chain = Chain::default();
        self.chains -= 1;
        self.chained -= 1;
        self.lent += 1;
        Some(Bytes::from_owner(Lent { memory: self.memory.clone(), id, begin, end }))
    }

    /// Returns to the ring the lent buffers that are no longer needed.
    pub(super) fn reclaim(&mut self) {
        if !self.memory.some_returned.load(Ordering::Acquire) {
            return;
        }
        let mut returned = self.memory.take_returned();
        for id in returned.drain(..) {
            self.lent -= 1;
            self.give_back(id);
        }
        self.memory.keep_for_returns(returned);
    }

    /// Lets the memory outlive this value, because the kernel may still use the memory.
    pub(super) fn never_free(&mut self) {
        self.immortal = true;
    }

    /// Like `never_free`, but in a way that a leak checker recognizes.
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
        // SAFETY: the index is below MOST, the number of places. The kernel reads a place only when the tail has passed
        // it. No buffer is in the ring twice, so the tail is at most MOST ahead of the kernel.
        let entry = unsafe { &mut *place };
        entry.set_addr(address);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first place is valid and initialised; its unused field is the ring's tail.
        let tail = unsafe { BufRingEntry::tail(self.places.as_ptr()) };
        // SAFETY: the tail is aligned, and valid as long as the places are; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Returns a buffer that the kernel took and did not fill.
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

    /// Moves bytes out, and returns their number. Emptied buffers return to the ring.
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

    /// Returns the buffers of a chain to the ring, with their contents.
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
        // SAFETY: the buffer is in a chain and not in the ring; the kernel wrote its first `end` bytes, and `end` is at
        // most BYTES.
        unsafe { self.memory.bytes(id, slot.begin, slot.end) }
    }

    fn address(&self, id: u16) -> *mut u8 {
        self.memory.address(id)
    }
}

impl Memory {
    fn address(&self, id: u16) -> *mut u8 {
        debug_assert!(id < MOST);
        self.start.as_ptr().wrapping_add(usize::from(id) * BYTES)
    }

    /// # Safety
    /// The buffer is not in the ring for as long as the bytes are borrowed, and the kernel wrote the buffer's first
    /// `end` bytes.
    unsafe fn bytes(&self, id: u16, begin: u16, end: u16) -> &[u8] {
        let first = self.address(id).wrapping_add(usize::from(begin));
        // SAFETY: the caller ensures that the bytes are initialised and not written to.
        unsafe { std::slice::from_raw_parts(first, usize::from(end - begin)) }
    }

    fn take_returned(&self) -> Vec<u16> {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        self.some_returned.store(false, Ordering::Release);
        std::mem::take(&mut *returned)
    }

    /// Keeps the emptied vector for later returns, so that a turn does not allocate.
    fn keep_for_returns(&self, empty: Vec<u16>) {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        if returned.is_empty() {
            *returned = empty;
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the buffer is in no chain, and does not go into the ring before this value is dropped.
        unsafe { self.memory.bytes(self.id, self.begin, self.end) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.memory.returned.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        self.memory.some_returned.store(true, Ordering::Release);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout, no lent chunk is left, and the provider drops its part
        // only when no receive is under way.
        unsafe { dealloc(self.start.as_ptr(), memory_layout()) };
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.immortal {
            return std::mem::forget(self.memory.clone());
        }
        // SAFETY: the memory was allocated with this layout, and the ring that the kernel found it by is closed.
        unsafe { dealloc(self.places.as_ptr().cast(), places_layout()) };
    }
}

fn places_layout() -> Layout {
    Layout::from_size_align(usize::from(MOST) * size_of::<BufRingEntry>(), PAGE).expect("a small size")
}

fn memory_layout() -> Layout {
    Layout::from_size_align(usize::from(MOST) * BYTES, PAGE).expect("a small size")
}

fn allocate(layout: Layout, allocate: unsafe fn(Layout) -> *mut u8) -> NonNull<u8> {
    // SAFETY: `allocate` is a function of std that needs a size above zero, and both layouts have one.
    let place = unsafe { allocate(layout) };
    NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout))
}
