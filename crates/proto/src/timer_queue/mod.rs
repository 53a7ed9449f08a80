//! The delayed calls of a reactor, ordered by deadline.
//!
//! ```text
//!   heap       [ deadline, sequence, slot ]    4-ary, earliest first; equal deadlines in the order of scheduling
//!                                     |
//!   slots      [ generation, deadline, sequence, value ]    a TimerKey points to one
//!   positions  [ index into heap ]                          one for each slot
//! ```
//!
//! - A cancelled timer is removed at once. So a program that sets and cancels a timeout for each request keeps none.
//! - A reset to a later deadline only changes the slot. The heap entry keeps its earlier deadline, and moves down when
//!   it reaches the top. So refreshing an idle timeout is one store.
//! - A large part of the queue that is due at once is sorted in one go. The heap is rebuilt from the rest.
//! - A [`Mark`] separates the timers scheduled before a turn from those that its calls schedule.

mod heap;
mod parked;
mod sorted;
#[cfg(test)]
mod tests;

use crate::{Key, Moment};

/// The end of the list of vacant slots.
const NONE: u32 = u32::MAX;

/// The bit of a position that is an index into `parked` instead of `heap`.
const PARKED: u32 = 1 << 31;

/// The position of a slot whose entry is in the sorted part.
const SORTED: u32 = u32::MAX - 1;

/// The capacity that is kept, because a small queue that is empty after each turn must not allocate in each turn.
const KEEP: usize = 64;

/// The key of a timer in a [`TimerQueue`]. The key of a timer that fired or was cancelled is stale and matches nothing.
///
/// ```
/// use ropewalk_proto::{Moment, TimerQueue};
///
/// let mut queue = TimerQueue::new();
/// let key = queue.schedule(Moment::from_nanos(10), "tea");
/// assert!(queue.contains(key));
/// assert_eq!(queue.cancel(key), Some("tea"));
/// assert!(!queue.contains(key) && queue.is_empty()); // the key is stale
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(Key);

/// A point in the order of scheduling. See [`TimerQueue::mark`].
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
    /// Deadline and sequence in one integer, whose comparison compiles without a branch.
    fn rank(&self) -> u128 {
        u128::from(self.deadline.as_nanos()) << 64 | u128::from(self.sequence)
    }
}

struct Slot<T> {
    generation: u32,
    /// The effective deadline. The heap entry may have an earlier one.
    deadline: Moment,
    sequence: u64,
    value: Option<T>,
    /// Whether the timer was cancelled. A timer that fired was not.
    cancelled: bool,
}

impl<T> Slot<T> {
    /// Returns whether `entry` belongs to this timer and has its effective deadline.
    fn is(&self, entry: Entry) -> bool {
        self.sequence == entry.sequence && self.value.is_some()
    }
}

/// A queue of values with deadlines, in the order of their deadlines. Equal deadlines are in the order of scheduling.
///
/// Scheduling, cancelling and firing cost O(log n). A reset to a later deadline costs O(1).
///
/// Calls no callbacks: [`pop_due`](TimerQueue::pop_due) returns each value that is due. May be sent to another thread
/// if its values may.
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
    /// The position of each slot's entry, or, if the slot is vacant, the next vacant slot. This is not a field of the
    /// slot, because a sift writes a position at each level. A dense array of positions stays in the cache.
    positions: Vec<u32>,
    slots: Vec<Slot<T>>,
    vacant: u32,
    /// Slots of due timers that must wait for the next mark. Until then they are not in the heap.
    parked: Vec<u32>,
    parked_at: Mark,
    sorted: sorted::Sorted,
    next_sequence: u64,
    /// The number of removals until the next search for slots to free.
    trim_in: usize,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        TimerQueue {
            heap: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            vacant: NONE,
            parked: Vec::new(),
            parked_at: Mark(0),
            sorted: sorted::Sorted::default(),
            next_sequence: 0,
            trim_in: 0,
        }
    }
}

impl<T> TimerQueue<T> {
    /// Creates an empty queue. It allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Schedules `value` for `deadline`.
    ///
    /// A deadline in the past is due at once. [`Moment::NEVER`] is never due.
    ///
    /// # Panics
    /// If the queue holds 2^31 timers.
    pub fn schedule(&mut self, deadline: Moment, value: T) -> TimerKey {
        let sequence = self.take_sequence();
        // A sequence number is unique, so the generation stays unique even if a slot is freed and created again.
        let generation = sequence as u32;
        let index = self.occupy(Slot { generation, deadline, sequence, value: Some(value), cancelled: false });
        self.push(Entry { deadline, sequence, slot: index });
        TimerKey(Key::new(index, generation))
    }

    /// Removes the timer and returns its value, or `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.slot(key)?;
        self.detach(key.0.index());
        self.slots[key.0.index() as usize].cancelled = true;
        self.vacate(key.0.index())
    }

    /// Returns whether the timer was cancelled, if that is still known: until another timer takes its slot.
    ///
    /// ```
    /// use ropewalk_proto::{Moment, TimerQueue};
    ///
    /// let mut queue = TimerQueue::new();
    /// let key = queue.schedule(Moment::ZERO, "tea");
    /// queue.cancel(key);
    /// assert!(queue.was_cancelled(key));
    /// ```
    pub fn was_cancelled(&self, key: TimerKey) -> bool {
        let slot = self.slots.get(key.0.index() as usize);
        slot.is_some_and(|slot| slot.generation == key.0.generation() && slot.cancelled)
    }

    /// Reschedules the timer for `deadline`. Returns false if it fired or was cancelled before.
    ///
    /// Like a timer scheduled now, it comes after others with the same deadline and after every [`Mark`] taken so far.
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
        // A deadline later than the effective one is also later than the heap entry's, so the entry stays.
        if !is_later || self.positions[key.0.index() as usize] == SORTED {
            self.advance(Entry { deadline, sequence, slot: key.0.index() });
        }
        true
    }

    /// Returns the earliest deadline, or `None` if no timer will ever be due.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        self.unpark();
        self.first().map(|first| first.deadline).filter(|&deadline| deadline != Moment::NEVER)
    }

    /// Returns a mark between the timers scheduled or reset so far and those scheduled or reset later.
    pub fn mark(&self) -> Mark {
        Mark(self.next_sequence)
    }

    /// Removes and returns the next timer that is due at `now` and was scheduled or last reset before `mark`.
    ///
    /// An event loop takes one mark in each turn and then calls this until it returns `None`. A call that the turn's
    /// calls schedule for `now` runs in the next turn. So a call that always schedules another cannot starve the rest.
    pub fn pop_due(&mut self, now: Moment, mark: Mark) -> Option<(TimerKey, T)> {
        if self.parked_at != mark {
            self.unpark();
        }
        self.sort_due(now, mark);
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

    /// Returns the effective deadline of the timer, or `None` if it fired or was cancelled before.
    pub fn deadline(&self, key: TimerKey) -> Option<Moment> {
        self.slot(key).map(|slot| slot.deadline)
    }

    /// Returns whether the timer is in the queue.
    pub fn contains(&self, key: TimerKey) -> bool {
        self.slot(key).is_some()
    }

    /// Iterates over all timers with their effective deadlines, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (TimerKey, Moment, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((TimerKey(Key::new(index as u32, slot.generation)), slot.deadline, value))
        })
    }

    /// Returns the values of all timers, in no particular order.
    ///
    /// ```
    /// use ropewalk_proto::{Moment, TimerQueue};
    ///
    /// let mut queue = TimerQueue::new();
    /// queue.schedule(Moment::from_nanos(10), "tea");
    /// assert_eq!(queue.into_values().collect::<Vec<_>>(), ["tea"]);
    /// ```
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.value)
    }

    /// Returns the number of timers.
    pub fn len(&self) -> usize {
        self.heap.len() + self.parked.len() + self.sorted.len()
    }

    /// Returns whether the queue has no timers.
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

impl<T> TimerQueue<T> {
    fn occupy(&mut self, slot: Slot<T>) -> u32 {
        if self.vacant != NONE {
            let index = self.vacant;
            self.vacant = self.positions[index as usize];
            self.slots[index as usize] = slot;
            return index;
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|index| index & PARKED == 0);
        self.slots.push(slot);
        self.positions.push(NONE);
        index.expect("fewer than 2^31 timers")
    }

    fn vacate(&mut self, index: u32) -> Option<T> {
        let value = self.slots[index as usize].value.take();
        self.positions[index as usize] = self.vacant;
        self.vacant = index;
        match self.trim_in.checked_sub(1) {
            Some(left) if !self.is_empty() => self.trim_in = left,
            _ => self.trim(),
        }
        value
    }

    /// Frees the vacant slots after the last occupied one, if three in four slots are vacant.
    ///
    /// The scan is amortized over the removals since the last scan. Afterwards the lowest slots are used first, so the
    /// rest of the memory of a burst is freed when the timers in high slots leave.
    fn trim(&mut self) {
        if self.slots.len() <= KEEP || self.len() * 4 > self.slots.len() {
            return;
        }
        let occupied = self.slots.iter().rposition(|slot| slot.value.is_some()).map_or(0, |last| last + 1);
        self.slots.truncate(occupied);
        self.slots.shrink_to(occupied.max(KEEP));
        self.positions.truncate(occupied);
        self.positions.shrink_to(occupied.max(KEEP));
        self.vacant = NONE;
        for index in (0..occupied).rev().filter(|&index| self.slots[index].value.is_none()) {
            self.positions[index] = self.vacant;
            self.vacant = index as u32;
        }
        self.trim_in = (self.len() / 2).max(occupied / 16);
    }
}
