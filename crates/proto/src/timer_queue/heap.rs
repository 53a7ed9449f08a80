//! The 4-ary heap.

use super::{Entry, KEEP, PARKED, SORTED, TimerQueue};

/// The number of children of a heap node. Four entries of 24 bytes are one and a half cache lines, and the tree is half
/// as deep as a binary one.
pub(super) const ARITY: usize = 4;

/// Returns the indices of the children of `position`, some of which may be after the end of the heap.
pub(super) fn children(position: usize) -> std::ops::Range<usize> {
    position * ARITY + 1..position * ARITY + 1 + ARITY
}

impl<T> TimerQueue<T> {
    /// Restores the heap order of entries in any order.
    pub(super) fn order_heap(&mut self) {
        for position in (0..self.heap.len()).rev() {
            self.sift_down(position, self.heap[position]);
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    /// Moves the entry of a slot with a new deadline towards the top, unless it is early enough already.
    pub(super) fn advance(&mut self, entry: Entry) {
        let position = self.positions[entry.slot as usize];
        if position == SORTED {
            self.sorted.leave();
            return self.push(entry);
        }
        if position & PARKED != 0 {
            self.leave_parked(position & !PARKED);
            return self.push(entry);
        }
        if entry.rank() < self.heap[position as usize].rank() {
            self.sift_up(position as usize, entry);
        }
    }

    /// Removes the entry of `slot` from the heap, the sorted part or the parked slots.
    pub(super) fn detach(&mut self, slot: u32) {
        let position = self.positions[slot as usize];
        if position == SORTED {
            return self.sorted.leave();
        }
        if position & PARKED != 0 {
            return self.leave_parked(position & !PARKED);
        }
        self.remove_at(position as usize);
        self.shrink_heap();
    }

    /// Frees memory that a burst left.
    pub(super) fn shrink_heap(&mut self) {
        if self.heap.len() * 4 < self.heap.capacity() && self.heap.capacity() > KEEP {
            self.heap.shrink_to((self.heap.len() * 2).max(KEEP));
        }
    }

    fn remove_at(&mut self, position: usize) {
        let Some(last) = self.heap.pop() else { return };
        if position == self.heap.len() {
            return;
        }
        if position > 0 && last.rank() < self.heap[(position - 1) / ARITY].rank() {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    /// Moves down the entries of timers that were reset to a later deadline. Returns the earliest entry.
    pub(super) fn settle_top(&mut self) -> Option<Entry> {
        loop {
            let top = *self.heap.first()?;
            let slot = &self.slots[top.slot as usize];
            if slot.is(top) {
                return Some(top);
            }
            self.sift_down(0, Entry { deadline: slot.deadline, sequence: slot.sequence, slot: top.slot });
        }
    }

    /// Puts `entry` at the free `position` or above it.
    fn sift_up(&mut self, mut position: usize, entry: Entry) {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.heap[parent].rank() <= entry.rank() {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    /// Puts `entry` at the free `position` or below it.
    pub(super) fn sift_down(&mut self, mut position: usize, entry: Entry) {
        while let Some((child, least)) = self.least_child(position) {
            if entry.rank() <= least.rank() {
                break;
            }
            self.put(position, least);
            position = child;
        }
        self.put(position, entry);
    }

    fn least_child(&self, position: usize) -> Option<(usize, Entry)> {
        let first = position * ARITY + 1;
        let children = self.heap.get(first..)?;
        let mut least = 0;
        for child in 1..children.len().min(ARITY) {
            if children[child].rank() < children[least].rank() {
                least = child;
            }
        }
        children.get(least).map(|&entry| (first + least, entry))
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.positions[entry.slot as usize] = position as u32;
    }
}
