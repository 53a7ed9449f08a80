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
//! - A [`Mark`] separates what was scheduled before a turn from what its calls schedule.

use crate::{Key, Moment};

/// Children per heap node: four 24-byte entries are one and a half cache lines, and the tree is half as deep as a binary one.
const ARITY: usize = 4;

/// Ends the chain of vacant slots.
const NONE: u32 = u32::MAX;

/// Set in a place that is an index into `parked` instead of `heap`.
const PARKED: u32 = 1 << 31;

/// Below this capacity memory is kept: a small queue that empties each turn must not allocate each turn.
const KEEP: usize = 64;

/// Names a timer in its [`TimerQueue`]. The key of a timer that fired or was cancelled matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(Key);

/// A point in the order of scheduling; see [`TimerQueue::mark`].
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
    pub fn reset(&mut self, key: TimerKey, deadline: Moment) -> bool {
        let sequence = self.next_sequence;
        let Some(slot) = self.slot_mut(key) else { return false };
        let is_later = deadline >= slot.deadline;
        slot.deadline = deadline;
        slot.sequence = sequence;
        self.next_sequence += 1;
        // Later than the last effective deadline is later than the heap's, which then need not be looked at.
        if !is_later {
            self.advance(Entry { deadline, sequence, slot: key.0.index() });
        }
        true
    }

    /// The first moment at which something is due; `None` when nothing ever will be.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        self.unpark();
        self.settle_top().map(|top| top.deadline).filter(|&deadline| deadline != Moment::NEVER)
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
        while let Some(top) = self.settle_top() {
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
        self.heap.len() + self.parked.len()
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

/// Parking: due timers from after the mark step aside, so that those from before it can be seen.
impl<T> TimerQueue<T> {
    fn park(&mut self, slot: u32, mark: Mark) {
        self.places[slot as usize] = PARKED | self.parked.len() as u32;
        self.parked.push(slot);
        self.parked_at = mark;
    }

    fn unpark(&mut self) {
        for index in std::mem::take(&mut self.parked) {
            let slot = &self.slots[index as usize];
            self.push(Entry { deadline: slot.deadline, sequence: slot.sequence, slot: index });
        }
    }

    fn leave_parked(&mut self, place: u32) {
        self.parked.swap_remove(place as usize);
        if let Some(&moved) = self.parked.get(place as usize) {
            self.places[moved as usize] = PARKED | place;
        }
    }
}

/// The heap.
impl<T> TimerQueue<T> {
    fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    /// Moves an entry whose slot has a new deadline towards the top, unless it stands early enough already.
    fn advance(&mut self, entry: Entry) {
        let place = self.places[entry.slot as usize];
        if place & PARKED != 0 {
            self.leave_parked(place & !PARKED);
            return self.push(entry);
        }
        if entry.rank() < self.heap[place as usize].rank() {
            self.sift_up(place as usize, entry);
        }
    }

    /// Takes the entry of `slot` out of wherever it stands.
    fn detach(&mut self, slot: u32) {
        let place = self.places[slot as usize];
        if place & PARKED != 0 {
            return self.leave_parked(place & !PARKED);
        }
        self.remove_at(place as usize);
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
    fn settle_top(&mut self) -> Option<Entry> {
        loop {
            let top = *self.heap.first()?;
            let slot = &self.slots[top.slot as usize];
            if slot.sequence == top.sequence {
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
    fn sift_down(&mut self, mut place: usize, entry: Entry) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    fn drain<T>(queue: &mut TimerQueue<T>, now: Moment) -> Vec<T> {
        let mark = queue.mark();
        std::iter::from_fn(|| queue.pop_due(now, mark)).map(|(_, value)| value).collect()
    }

    fn assert_consistent<T>(queue: &TimerQueue<T>) {
        for (place, entry) in queue.heap.iter().enumerate() {
            let slot = &queue.slots[entry.slot as usize];
            assert_eq!(queue.places[entry.slot as usize] as usize, place);
            assert!(slot.value.is_some(), "a heap entry whose slot is vacant");
            assert!(
                (entry.deadline, entry.sequence) <= (slot.deadline, slot.sequence),
                "an entry that stands too late"
            );
            assert!(place == 0 || queue.heap[(place - 1) / ARITY].rank() < entry.rank(), "a child before its parent");
        }
        for (place, &slot) in queue.parked.iter().enumerate() {
            assert_eq!(queue.places[slot as usize], PARKED | place as u32);
        }
        assert_eq!(queue.iter().count(), queue.len());
        let follow = |index: u32| Some(index).filter(|&index| index != NONE);
        let chain = std::iter::successors(follow(queue.vacant), |&index| follow(queue.places[index as usize]));
        assert_eq!(chain.count(), queue.slots.len() - queue.len());
    }

    #[test]
    fn timers_with_equal_deadlines_fire_in_the_order_of_scheduling() {
        let mut queue = TimerQueue::new();
        for value in 0..100 {
            queue.schedule(at(5), value);
        }
        assert_eq!(drain(&mut queue, at(5)), Vec::from_iter(0..100));
    }

    #[test]
    fn what_is_scheduled_after_the_mark_waits_for_the_next_turn_even_when_it_is_due_first() {
        let mut queue = TimerQueue::new();
        queue.schedule(at(5), "a");
        queue.schedule(at(6), "b");
        let mark = queue.mark();
        assert_eq!(queue.pop_due(at(10), mark).unwrap().1, "a");
        queue.schedule(at(10), "at now");
        let past = queue.schedule(at(1), "in the past");
        assert_eq!(queue.pop_due(at(10), mark).unwrap().1, "b");
        assert_eq!(queue.pop_due(at(10), mark), None);
        assert!(queue.contains(past));
        assert_eq!(queue.next_deadline(), Some(at(1)));
        assert_eq!(drain(&mut queue, at(10)), ["in the past", "at now"]);
    }

    #[test]
    fn timers_that_wait_for_the_next_turn_can_be_cancelled_and_reset() {
        let mut queue = TimerQueue::new();
        queue.schedule(at(3), "old");
        let mark = queue.mark();
        let [a, b, c] = ["a", "b", "c"].map(|value| queue.schedule(at(2), value));
        queue.schedule(at(3), "d");
        assert_eq!(queue.pop_due(at(3), mark).unwrap().1, "old");
        assert_eq!(queue.parked.len(), 3);
        assert_eq!(queue.cancel(a), Some("a"));
        assert!(queue.reset(b, at(1)));
        assert!(queue.reset(c, at(9)));
        assert_consistent(&queue);
        assert_eq!(queue.pop_due(at(3), mark), None);
        assert_eq!(drain(&mut queue, at(9)), ["b", "d", "c"]);
    }

    #[test]
    fn a_timer_reset_inside_a_turn_is_newly_scheduled() {
        let mut queue = TimerQueue::new();
        let early = queue.schedule(at(5), "early");
        queue.schedule(at(5), "late");
        let mark = queue.mark();
        queue.reset(early, at(5));
        assert_eq!(queue.pop_due(at(5), mark).unwrap().1, "late");
        assert_eq!(queue.pop_due(at(5), mark), None);
        assert_eq!(drain(&mut queue, at(5)), ["early"]);
    }

    #[test]
    fn a_reset_to_later_does_not_move_the_heap_entry() {
        let mut queue = TimerQueue::new();
        let key = queue.schedule(at(5), "idle timeout");
        for nanos in 6..1000 {
            assert!(queue.reset(key, at(nanos)));
            assert_eq!(queue.heap[0].deadline, at(5));
        }
        assert_eq!(queue.deadline(key), Some(at(999)));
        assert_eq!(queue.next_deadline(), Some(at(999)));
    }

    #[test]
    fn a_reset_to_between_the_heaps_deadline_and_the_effective_one_is_exact() {
        let mut queue = TimerQueue::new();
        let key = queue.schedule(at(5), "moved");
        queue.schedule(at(20), "other");
        queue.reset(key, at(100));
        queue.reset(key, at(20));
        assert_eq!(queue.next_deadline(), Some(at(20)));
        assert_eq!(drain(&mut queue, at(20)), ["other", "moved"]);
    }

    #[test]
    fn a_timer_that_is_never_due_never_fires_and_gives_no_deadline() {
        let mut queue = TimerQueue::new();
        let key = queue.schedule(Moment::NEVER, "never");
        assert_eq!(queue.next_deadline(), None);
        assert_eq!(drain(&mut queue, Moment::NEVER), Vec::<&str>::new());
        assert_eq!(queue.deadline(key), Some(Moment::NEVER));
        queue.reset(key, at(7));
        assert_eq!(drain(&mut queue, at(7)), ["never"]);
    }

    #[test]
    fn the_key_of_a_timer_that_left_matches_nothing() {
        let mut queue = TimerQueue::new();
        let fired = queue.schedule(at(1), 1);
        assert_eq!(drain(&mut queue, at(1)), [1]);
        let live = queue.schedule(at(1), 2);
        assert_eq!(fired.0.index(), live.0.index());
        assert_eq!(queue.cancel(fired), None);
        assert!(!queue.reset(fired, at(9)));
        assert_eq!(queue.deadline(fired), None);
        assert!(!queue.contains(fired));
        assert_eq!(queue.deadline(live), Some(at(1)));
    }

    #[test]
    fn setting_and_cancelling_for_ever_keeps_nothing() {
        let mut queue = TimerQueue::new();
        for nanos in 0..100_000 {
            let key = queue.schedule(at(nanos), nanos);
            assert_eq!(queue.cancel(key), Some(nanos));
        }
        assert!(queue.slots.capacity() <= KEEP && queue.heap.capacity() <= KEEP);
    }

    #[test]
    fn memory_shrinks_back_in_the_traffic_after_a_burst() {
        let mut queue = TimerQueue::new();
        let keys = Vec::from_iter((0..100_000).map(|nanos| queue.schedule(at(nanos), ())));
        for key in &keys[1..] {
            queue.cancel(*key);
        }
        for nanos in 0..10_000 {
            let key = queue.schedule(at(nanos), ());
            queue.cancel(key);
        }
        assert_eq!(queue.len(), 1);
        assert!(queue.slots.capacity() <= KEEP, "{} slots for one timer", queue.slots.capacity());
        assert!(queue.heap.capacity() <= KEEP, "{} entries for one timer", queue.heap.capacity());
        assert_consistent(&queue);
        let stale = keys[99_999];
        for nanos in 0..100_000 {
            queue.schedule(at(nanos), ());
        }
        assert!(!queue.contains(stale), "a slot that was made again answers to an old key");
    }

    #[test]
    fn a_burst_whose_last_timer_stays_is_given_back_when_that_one_leaves() {
        let mut queue = TimerQueue::new();
        let keys = Vec::from_iter((0..10_000).map(|nanos| queue.schedule(at(nanos), ())));
        for key in &keys[..9_999] {
            queue.cancel(*key);
        }
        assert!(queue.contains(keys[9_999]));
        queue.cancel(keys[9_999]);
        assert!(queue.slots.capacity() <= KEEP, "{} slots for no timer", queue.slots.capacity());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u64),
        Cancel(usize),
        Reset(usize, u64),
        Turn(u64, usize),
        NextDeadline,
    }

    fn deadline() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0..40u64, 1 => Just(u64::MAX)]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => deadline().prop_map(Step::Schedule),
            2 => any::<usize>().prop_map(Step::Cancel),
            3 => (any::<usize>(), deadline()).prop_map(|(which, nanos)| Step::Reset(which, nanos)),
            2 => (deadline(), 0..8usize).prop_map(|(now, pops)| Step::Turn(now, pops)),
            1 => Just(Step::NextDeadline),
        ]
    }

    /// Rows of (deadline, order of scheduling or last reset, key); the value is the key's number.
    #[derive(Default)]
    struct Model {
        rows: Vec<(u64, u64, usize)>,
        scheduled: u64,
    }

    impl Model {
        fn set(&mut self, nanos: u64, id: usize) {
            self.rows.push((nanos, self.scheduled, id));
            self.scheduled += 1;
            self.rows.sort();
        }

        fn remove(&mut self, id: usize) -> bool {
            let before = self.rows.len();
            self.rows.retain(|row| row.2 != id);
            self.rows.len() < before
        }

        fn pop_due(&mut self, now: u64, mark: u64) -> Option<usize> {
            let is_ready = |row: &(u64, u64, usize)| row.0 <= now && row.0 != u64::MAX && row.1 < mark;
            let place = self.rows.iter().position(is_ready)?;
            Some(self.rows.remove(place).2)
        }

        fn next_deadline(&self) -> Option<Moment> {
            self.rows.first().map(|row| at(row.0)).filter(|&deadline| deadline != Moment::NEVER)
        }
    }

    /// The queue beside its model: each step is done to both and must look the same.
    #[derive(Default)]
    struct Pair {
        queue: TimerQueue<usize>,
        keys: Vec<TimerKey>,
        model: Model,
    }

    impl Pair {
        fn run(&mut self, step: &Step, turn: Option<(u64, Mark, u64)>) {
            match *step {
                Step::Schedule(nanos) => {
                    let id = self.keys.len();
                    self.keys.push(self.queue.schedule(at(nanos), id));
                    self.model.set(nanos, id);
                }
                Step::Cancel(which) if !self.keys.is_empty() => {
                    let id = which % self.keys.len();
                    let expected = self.model.remove(id).then_some(id);
                    assert_eq!(self.queue.cancel(self.keys[id]), expected);
                }
                Step::Reset(which, nanos) if !self.keys.is_empty() => {
                    let id = which % self.keys.len();
                    let is_live = self.model.remove(id);
                    assert_eq!(self.queue.reset(self.keys[id], at(nanos)), is_live);
                    if is_live {
                        self.model.set(nanos, id);
                    }
                }
                Step::NextDeadline => assert_eq!(self.queue.next_deadline(), self.model.next_deadline()),
                _ => {}
            }
            if let Some((now, mark, model_mark)) = turn {
                let popped = self.queue.pop_due(at(now), mark);
                assert_eq!(popped.map(|(_, value)| value), self.model.pop_due(now, model_mark));
            }
            self.check();
        }

        fn check(&self) {
            assert_consistent(&self.queue);
            assert_eq!(self.queue.len(), self.model.rows.len());
            for &(nanos, _, id) in &self.model.rows {
                assert_eq!(self.queue.deadline(self.keys[id]), Some(at(nanos)));
            }
        }
    }

    proptest! {
        #[test]
        fn the_queue_equals_a_sorted_list(steps in prop::collection::vec(step(), 1..150)) {
            let mut pair = Pair::default();
            let mut turn = None;
            let mut pops = 0;
            for step in &steps {
                // Inside a turn each step stands for what one callback did before the next one is popped.
                pair.run(step, turn.filter(|_| pops > 0));
                pops = usize::saturating_sub(pops, 1);
                if let Step::Turn(now, count) = *step {
                    turn = Some((now, pair.queue.mark(), pair.model.scheduled));
                    pops = count;
                }
            }
            let left = Vec::from_iter(pair.model.rows.iter().filter(|row| row.0 != u64::MAX).map(|row| row.2));
            prop_assert_eq!(drain(&mut pair.queue, Moment::NEVER), left);
        }
    }
}
