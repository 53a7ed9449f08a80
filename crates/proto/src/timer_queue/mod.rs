//! What is due when: the delayed calls of one reactor.
//!
//! ```text
//!   heap    [ deadline, sequence, slot ]    4-ary, earliest first; equal deadlines in the order of scheduling
//!                                  |
//!   slots   [ generation, deadline, sequence, value ]    where a TimerKey points
//!   places  [ index into heap ]                          beside each slot
//! ```
//!
//! - A cancelled timer leaves at once, so that a program which sets and cancels a timeout for each request keeps none.
//! - A reset to a later deadline is written into the slot alone. The heap entry stays where it is, too early, and moves
//!   when it comes to the top: refreshing an idle timeout is one store.
//! - Where a large part of the queue is due at once, it is sorted as one batch, and the heap made anew of the rest.
//! - A [`Mark`] separates what was scheduled before a turn from what its calls schedule.

mod batch;
mod heap;
mod parked;
#[cfg(test)]
mod tests;

use crate::{Key, Moment};

/// Ends the chain of vacant slots.
const NONE: u32 = u32::MAX;

/// Set in a place that is an index into `parked` instead of `heap`.
const PARKED: u32 = 1 << 31;

/// The place of a slot whose entry is in the sorted batch.
const IN_BATCH: u32 = u32::MAX - 1;

/// Below this capacity memory is kept: a small queue that empties each turn must not allocate each turn.
const KEEP: usize = 64;

/// Names a timer in its [`TimerQueue`]. The key of a timer that fired or was cancelled matches nothing.
///
/// ```
/// use ropewalk_proto::{Moment, TimerQueue};
///
/// let mut queue = TimerQueue::new();
/// let key = queue.schedule(Moment::from_nanos(10), "tea");
/// assert!(queue.contains(key));
/// assert_eq!(queue.cancel(key), Some("tea"));
/// assert!(!queue.contains(key) && queue.is_empty()); // it matches nothing from here on
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(Key);

/// A point in the order of scheduling; see [`TimerQueue::mark`].
///
/// ```
/// use ropewalk_proto::{Moment, TimerQueue};
///
/// let (mut queue, now) = (TimerQueue::new(), Moment::ZERO);
/// queue.schedule(now, "this turn");
/// let mark = queue.mark();
/// queue.schedule(now, "next turn");
/// assert_eq!(queue.pop_due(now, mark).map(|(_, value)| value), Some("this turn"));
/// assert_eq!(queue.pop_due(now, mark), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Clone, Copy)]
struct Entry {
    deadline: Moment,
    sequence: u64,
    slot: u32,
}

impl Entry {
    /// Both halves in one integer: comparing it compiles without a branch.
    fn rank(&self) -> u128 {
        u128::from(self.deadline.as_nanos()) << 64 | u128::from(self.sequence)
    }
}

struct Slot<T> {
    generation: u32,
    /// With `sequence` the effective rank; the heap entry's may be earlier.
    deadline: Moment,
    sequence: u64,
    value: Option<T>,
}

impl<T> Slot<T> {
    /// Whether `entry` is of the present timer, with its present deadline.
    fn is(&self, entry: Entry) -> bool {
        self.sequence == entry.sequence && self.value.is_some()
    }
}

/// Values with deadlines, which come out in the order of (deadline, scheduling).
///
/// Scheduling, cancelling and firing cost O(log n); a reset to a later deadline is O(1).
///
/// ```
/// use ropewalk_proto::{Moment, TimerQueue};
///
/// let mut queue = TimerQueue::new();
/// queue.schedule(Moment::from_nanos(20), "second");
/// let first = queue.schedule(Moment::from_nanos(10), "first");
/// assert_eq!(queue.next_deadline(), Some(Moment::from_nanos(10)));
///
/// let (mark, now) = (queue.mark(), Moment::from_nanos(15));
/// assert_eq!(queue.pop_due(now, mark), Some((first, "first")));
/// assert_eq!(queue.pop_due(now, mark), None);
/// assert_eq!(queue.len(), 1);
/// ```
pub struct TimerQueue<T> {
    heap: Vec<Entry>,
    /// For each slot where its entry is; for a vacant one the next vacant slot. Not a field of the slot because a sift
    /// writes one at each level: densely packed they stay in the cache.
    places: Vec<u32>,
    slots: Vec<Slot<T>>,
    vacant: u32,
    /// Slots that came to the top due, but wait for the next mark; until then they are out of the heap's way.
    parked: Vec<u32>,
    parked_at: Mark,
    batch: batch::Batch,
    next_sequence: u64,
    /// Removals until it is worth looking for slots to give back.
    trim_in: usize,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        TimerQueue {
            heap: Vec::new(),
            places: Vec::new(),
            slots: Vec::new(),
            vacant: NONE,
            parked: Vec::new(),
            parked_at: Mark(0),
            batch: batch::Batch::default(),
            next_sequence: 0,
            trim_in: 0,
        }
    }
}

impl<T> TimerQueue<T> {
    /// An empty queue, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `value` until `deadline`; one in the past is due at once, [`Moment::NEVER`] is never due.
    ///
    /// # Panics
    /// With 2^31 timers at once.
    pub fn schedule(&mut self, deadline: Moment, value: T) -> TimerKey {
        let sequence = self.take_sequence();
        // The low half of a number that is used once serves as the generation, so slots can be given back and made again.
        let generation = sequence as u32;
        let index = self.occupy(Slot { generation, deadline, sequence, value: Some(value) });
        self.push(Entry { deadline, sequence, slot: index });
        TimerKey(Key::new(index, generation))
    }

    /// Takes the timer out, unless it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.slot(key)?;
        self.detach(key.0.index());
        self.vacate(key.0.index())
    }

    /// Moves the timer to `deadline`, as if it were scheduled now: it comes after others with the same deadline, and
    /// after every [`Mark`] taken so far.
    ///
    /// Returns false when it fired or was cancelled before.
    ///
    /// ```
    /// use ropewalk_proto::{Moment, TimerQueue};
    ///
    /// let mut queue = TimerQueue::new();
    /// let idle = queue.schedule(Moment::from_nanos(10), "idle");
    /// assert!(queue.reset(idle, Moment::from_nanos(50)));
    /// assert_eq!(queue.deadline(idle), Some(Moment::from_nanos(50)));
    /// assert!(queue.iter().all(|(key, deadline, _)| key == idle && deadline == Moment::from_nanos(50)));
    /// ```
    pub fn reset(&mut self, key: TimerKey, deadline: Moment) -> bool {
        let sequence = self.next_sequence;
        let Some(slot) = self.slot_mut(key) else { return false };
        let is_later = deadline >= slot.deadline;
        slot.deadline = deadline;
        slot.sequence = sequence;
        self.next_sequence += 1;
        // Later than the last effective deadline is later than the heap's, which then need not be looked at.
        if !is_later || self.places[key.0.index() as usize] == IN_BATCH {
            self.advance(Entry { deadline, sequence, slot: key.0.index() });
        }
        true
    }

    /// The first moment at which something is due; `None` when nothing ever will be.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        self.unpark();
        self.first().map(|first| first.deadline).filter(|&deadline| deadline != Moment::NEVER)
    }

    /// The point in the order of scheduling that lies between what has been scheduled or reset so far and what will be.
    pub fn mark(&self) -> Mark {
        Mark(self.next_sequence)
    }

    /// Takes out the next timer that is due at `now` and was scheduled or last reset before `mark`.
    ///
    /// A loop takes one mark each turn and then asks until the answer is `None`: what a call schedules for now runs in
    /// the next turn, and a call that always schedules another one cannot starve the rest.
    pub fn pop_due(&mut self, now: Moment, mark: Mark) -> Option<(TimerKey, T)> {
        if self.parked_at != mark {
            self.unpark();
        }
        self.gather(now, mark);
        while let Some(top) = self.first() {
            if top.deadline > now || top.deadline == Moment::NEVER {
                break;
            }
            self.detach(top.slot);
            if top.sequence < mark.0 {
                let key = Key::new(top.slot, self.slots[top.slot as usize].generation);
                return self.vacate(top.slot).map(|value| (TimerKey(key), value));
            }
            self.park(top.slot, mark);
        }
        None
    }

    /// When the timer is due, resets included, unless it fired or was cancelled before.
    pub fn deadline(&self, key: TimerKey) -> Option<Moment> {
        self.slot(key).map(|slot| slot.deadline)
    }

    /// Whether the timer is still waiting.
    pub fn contains(&self, key: TimerKey) -> bool {
        self.slot(key).is_some()
    }

    /// Every waiting timer with its deadline, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (TimerKey, Moment, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((TimerKey(Key::new(index as u32, slot.generation)), slot.deadline, value))
        })
    }

    /// How many timers are waiting.
    pub fn len(&self) -> usize {
        self.heap.len() + self.parked.len() + self.batch.len()
    }

    /// Whether no timer is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    fn slot(&self, key: TimerKey) -> Option<&Slot<T>> {
        let slot = self.slots.get(key.0.index() as usize)?;
        (slot.generation == key.0.generation() && slot.value.is_some()).then_some(slot)
    }

    fn slot_mut(&mut self, key: TimerKey) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(key.0.index() as usize)?;
        (slot.generation == key.0.generation() && slot.value.is_some()).then_some(slot)
    }
}

/// Slots: found when something is scheduled, given back when it leaves.
impl<T> TimerQueue<T> {
    fn occupy(&mut self, slot: Slot<T>) -> u32 {
        if self.vacant != NONE {
            let index = self.vacant;
            self.vacant = self.places[index as usize];
            self.slots[index as usize] = slot;
            return index;
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|index| index & PARKED == 0);
        self.slots.push(slot);
        self.places.push(NONE);
        index.expect("fewer than 2^31 timers")
    }

    fn vacate(&mut self, index: u32) -> Option<T> {
        let value = self.slots[index as usize].value.take();
        self.places[index as usize] = self.vacant;
        self.vacant = index;
        match self.trim_in.checked_sub(1) {
            Some(left) if !self.is_empty() => self.trim_in = left,
            _ => self.trim(),
        }
        value
    }

    /// Gives back the vacant slots behind the last occupied one when three in four are vacant.
    ///
    /// The scan is paid for by the removals since the last one. Afterwards the lowest slots are used first, so that the
    /// rest of a burst's memory goes as the timers that sit high up do.
    fn trim(&mut self) {
        if self.slots.len() <= KEEP || self.len() * 4 > self.slots.len() {
            return;
        }
        let occupied = self.slots.iter().rposition(|slot| slot.value.is_some()).map_or(0, |last| last + 1);
        self.slots.truncate(occupied);
        self.slots.shrink_to(occupied.max(KEEP));
        self.places.truncate(occupied);
        self.places.shrink_to(occupied.max(KEEP));
        self.vacant = NONE;
        for index in (0..occupied).rev().filter(|&index| self.slots[index].value.is_none()) {
            self.places[index] = self.vacant;
            self.vacant = index as u32;
        }
        self.trim_in = (self.len() / 2).max(occupied / 16);
    }
}
