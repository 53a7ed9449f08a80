//! Parking: due timers scheduled after the mark leave the heap, so that those before the mark reach its top.

use super::{Entry, Mark, PARKED, TimerQueue};

impl<T> TimerQueue<T> {
    pub(super) fn park(&mut self, slot: u32, mark: Mark) {
        self.positions[slot as usize] = PARKED | self.parked.len() as u32;
        self.parked.push(slot);
        self.parked_at = mark;
    }

    pub(super) fn unpark(&mut self) {
        for index in std::mem::take(&mut self.parked) {
            let slot = &self.slots[index as usize];
            self.push(Entry { deadline: slot.deadline, sequence: slot.sequence, slot: index });
        }
    }

    pub(super) fn leave_parked(&mut self, position: u32) {
        self.parked.swap_remove(position as usize);
        if let Some(&moved) = self.parked.get(position as usize) {
            self.positions[moved as usize] = PARKED | position;
        }
    }
}
