//! The sorted part: many timers that are due at once, because sorting them costs less than popping each from the heap.
//!
//! An entry whose timer was cancelled or reset stays until it reaches the front, where its sequence number shows that
//! it is stale.

use std::cmp::Reverse;

use super::heap::children;
use super::{Entry, KEEP, Mark, SORTED, TimerQueue};
use crate::Moment;

/// The minimum number of timers to sort.
const SORTED_MIN: usize = 32;

/// Timers are sorted only if at least one in this many is due, because the rest of the heap is then rebuilt.
const HEAP_PART: usize = 4;

#[derive(Default)]
pub(super) struct Sorted {
    /// The entries are in descending order, so the next one to fire is the last.
    entries: Vec<Entry>,
    /// The number of entries whose timers were neither cancelled nor reset.
    live: usize,
    /// The mark of the turn in which the heap was last counted.
    counted_at: Option<Mark>,
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Counts one timer less, because it was removed or reset.
    pub(super) fn leave(&mut self) {
        self.live -= 1;
    }
}

impl<T> TimerQueue<T> {
    /// Returns the earliest entry that is not parked.
    pub(super) fn first(&mut self) -> Option<Entry> {
        let top = self.settle_top();
        let Some(next) = self.next_sorted() else { return top };
        top.filter(|top| top.rank() < next.rank()).or(Some(next))
    }

    fn next_sorted(&mut self) -> Option<Entry> {
        while let Some(&entry) = self.sorted.entries.last() {
            if self.slots.get(entry.slot as usize).is_some_and(|slot| slot.is(entry)) {
                return Some(entry);
            }
            self.sorted.entries.pop();
        }
        if self.sorted.entries.capacity() > KEEP {
            self.sorted.entries = Vec::new();
        }
        None
    }

    /// Sorts the timers that are due at `now` and were scheduled before `mark`, if there are many. Does so once a turn.
    pub(super) fn sort_due(&mut self, now: Moment, mark: Mark) {
        if self.heap.len() < SORTED_MIN || self.sorted.live > 0 || self.sorted.counted_at.replace(mark) == Some(mark) {
            return;
        }
        if self.due_in_heap(now, 0) < SORTED_MIN.max(self.heap.len() / HEAP_PART) {
            return;
        }
        let slots = &self.slots;
        let sorted = &mut self.sorted.entries;
        sorted.clear();
        self.heap.retain_mut(|entry| {
            let slot = &slots[entry.slot as usize];
            (entry.deadline, entry.sequence) = (slot.deadline, slot.sequence);
            let is_due = entry.deadline <= now && entry.deadline != Moment::NEVER && entry.sequence < mark.0;
            if is_due {
                sorted.push(*entry);
            }
            !is_due
        });
        sorted.sort_unstable_by_key(|entry| Reverse(entry.rank()));
        self.sorted.live = sorted.len();
        for entry in &self.sorted.entries {
            self.positions[entry.slot as usize] = SORTED;
        }
        self.order_heap();
        self.shrink_heap();
    }

    /// Counts the due entries at `position` and below. Some may belong to timers that were reset to a later deadline.
    fn due_in_heap(&self, now: Moment, position: usize) -> usize {
        match self.heap.get(position) {
            Some(entry) if entry.deadline <= now => {
                1 + children(position).map(|child| self.due_in_heap(now, child)).sum::<usize>()
            }
            _ => 0,
        }
    }
}
