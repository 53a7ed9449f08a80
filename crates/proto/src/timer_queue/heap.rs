//! The 4-ary heap.

use super::{Entry, IN_BATCH, KEEP, PARKED, TimerQueue};

/// Children per heap node: four 24-byte entries are one and a half cache lines, and the tree is half as deep as a binary one.
pub(super) const ARITY: usize = 4;

/// Where the children of the entry at `place` stand, if there are so many.
pub(super) fn children(place: usize) -> std::ops::Range<usize> {
    place * ARITY + 1..place * ARITY + 1 + ARITY
}

impl<T> TimerQueue<T> {
    /// Makes a heap of entries in any order.
    pub(super) fn order_heap(&mut self) {
        for place in (0..self.heap.len()).rev() {
            self.sift_down(place, self.heap[place]);
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    /// Moves an entry whose slot has a new deadline towards the top, unless it stands early enough already.
    pub(super) fn advance(&mut self, entry: Entry) {
        let place = self.places[entry.slot as usize];
        if place == IN_BATCH {
            self.batch.leave();
            return self.push(entry);
        }
        if place & PARKED != 0 {
            self.leave_parked(place & !PARKED);
            return self.push(entry);
        }
        if entry.rank() < self.heap[place as usize].rank() {
            self.sift_up(place as usize, entry);
        }
    }

    /// Takes the entry of `slot` out of wherever it stands.
    pub(super) fn detach(&mut self, slot: u32) {
        let place = self.places[slot as usize];
        if place == IN_BATCH {
            return self.batch.leave();
        }
        if place & PARKED != 0 {
            return self.leave_parked(place & !PARKED);
        }
        self.remove_at(place as usize);
        self.shrink_heap();
    }

    /// Gives memory back that a burst left.
    pub(super) fn shrink_heap(&mut self) {
        if self.heap.len() * 4 < self.heap.capacity() && self.heap.capacity() > KEEP {
            self.heap.shrink_to((self.heap.len() * 2).max(KEEP));
        }
    }

    fn remove_at(&mut self, place: usize) {
        let Some(last) = self.heap.pop() else { return };
        if place == self.heap.len() {
            return;
        }
        if place > 0 && last.rank() < self.heap[(place - 1) / ARITY].rank() {
            self.sift_up(place, last);
        } else {
            self.sift_down(place, last);
        }
    }

    /// The earliest entry, after those whose timers were reset to a later deadline have moved down.
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

    /// Puts `entry` at `place`, which is free, or above it.
    fn sift_up(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent].rank() <= entry.rank() {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    /// Puts `entry` at `place`, which is free, or below it.
    pub(super) fn sift_down(&mut self, mut place: usize, entry: Entry) {
        while let Some((child, least)) = self.least_child(place) {
            if entry.rank() <= least.rank() {
                break;
            }
            self.put(place, least);
            place = child;
        }
        self.put(place, entry);
    }

    fn least_child(&self, place: usize) -> Option<(usize, Entry)> {
        let first = place * ARITY + 1;
        let children = self.heap.get(first..)?;
        let mut least = 0;
        for child in 1..children.len().min(ARITY) {
            if children[child].rank() < children[least].rank() {
                least = child;
            }
        }
        children.get(least).map(|&entry| (first + least, entry))
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.slot as usize] = place as u32;
    }
}
