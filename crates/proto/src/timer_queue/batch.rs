//! A large part of the queue that is due at once: sorted as one, it costs less than taking one after the other off the heap.
//!
//! An entry of the batch whose timer was cancelled or reset stays until it comes to the front; its sequence tells.

use std::cmp::Reverse;

use super::heap::children;
use super::{Entry, IN_BATCH, KEEP, Mark, TimerQueue};
use crate::Moment;

/// A batch has at least so many timers.
const LEAST: usize = 32;

/// And at least this part of the heap, which is made anew.
const PART: usize = 4;

#[derive(Default)]
pub(super) struct Batch {
    /// The next one is the last.
    entries: Vec<Entry>,
    /// How many of them were neither cancelled nor reset.
    live: usize,
    /// The turn in which the heap was looked at.
    looked_at: Option<Mark>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// One of its timers leaves, or is reset.
    pub(super) fn leave(&mut self) {
        self.live -= 1;
    }
}

impl<T> TimerQueue<T> {
    /// The earliest entry of all that are not parked.
    pub(super) fn first(&mut self) -> Option<Entry> {
        let top = self.settle_top();
        let Some(next) = self.next_of_batch() else { return top };
        top.filter(|top| top.rank() < next.rank()).or(Some(next))
    }

    fn next_of_batch(&mut self) -> Option<Entry> {
        while let Some(&entry) = self.batch.entries.last() {
            if self.slots.get(entry.slot as usize).is_some_and(|slot| slot.is(entry)) {
                return Some(entry);
            }
            self.batch.entries.pop();
        }
        if self.batch.entries.capacity() > KEEP {
            self.batch.entries = Vec::new();
        }
        None
    }

    /// Sorts what is due at `now` and was scheduled before `mark`, if that is much; once a turn.
    pub(super) fn gather(&mut self, now: Moment, mark: Mark) {
        if self.heap.len() < LEAST || self.batch.live > 0 || self.batch.looked_at.replace(mark) == Some(mark) {
            return;
        }
        if self.due_in_heap(now, 0) < LEAST.max(self.heap.len() / PART) {
            return;
        }
        let slots = &self.slots;
        let batch = &mut self.batch.entries;
        batch.clear();
        self.heap.retain_mut(|entry| {
            let slot = &slots[entry.slot as usize];
            (entry.deadline, entry.sequence) = (slot.deadline, slot.sequence);
            let is_due = entry.deadline <= now && entry.deadline != Moment::NEVER && entry.sequence < mark.0;
            if is_due {
                batch.push(*entry);
            }
            !is_due
        });
        batch.sort_unstable_by_key(|entry| Reverse(entry.rank()));
        self.batch.live = batch.len();
        for entry in &self.batch.entries {
            self.places[entry.slot as usize] = IN_BATCH;
        }
        self.order_heap();
        self.shrink_heap();
    }

    /// How many entries at `place` and below stand early enough; some may belong to timers that were reset to later.
    fn due_in_heap(&self, now: Moment, place: usize) -> usize {
        match self.heap.get(place) {
            Some(entry) if entry.deadline <= now => {
                1 + children(place).map(|child| self.due_in_heap(now, child)).sum::<usize>()
            }
            _ => 0,
        }
    }
}
