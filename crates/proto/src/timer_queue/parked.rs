//! Due timers from after the mark step aside, so that those from before it can be seen.

use super::{Entry, Mark, PARKED, TimerQueue};

impl<T> TimerQueue<T> {
    pub(super) fn park(&mut self, slot: u32, mark: Mark) {
        self.places[slot as usize] = PARKED | self.parked.len() as u32;
        self.parked.push(slot);
        self.parked_at = mark;
    }

    pub(super) fn unpark(&mut self) {
        for index in std::mem::take(&mut self.parked) {
            let slot = &self.slots[index as usize];
            self.push(Entry { deadline: slot.deadline, sequence: slot.sequence, slot: index });
        }
    }

    pub(super) fn leave_parked(&mut self, place: u32) {
        self.parked.swap_remove(place as usize);
        if let Some(&moved) = self.parked.get(place as usize) {
            self.places[moved as usize] = PARKED | place;
        }
    }
}
