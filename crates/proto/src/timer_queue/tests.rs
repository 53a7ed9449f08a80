use proptest::prelude::*;

use super::heap::ARITY;
use super::*;

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

fn drain<T>(queue: &mut TimerQueue<T>, now: Moment) -> Vec<T> {
    let mark = queue.mark();
    std::iter::from_fn(|| queue.pop_due(now, mark)).map(|(_, value)| value).collect()
}

fn assert_consistent<T>(queue: &TimerQueue<T>) {
    for (position, entry) in queue.heap.iter().enumerate() {
        let slot = &queue.slots[entry.slot as usize];
        assert_eq!(queue.positions[entry.slot as usize] as usize, position);
        assert!(slot.value.is_some(), "a heap entry whose slot is vacant");
        assert!((entry.deadline, entry.sequence) <= (slot.deadline, slot.sequence), "an entry that is too late");
        assert!(position == 0 || queue.heap[(position - 1) / ARITY].rank() < entry.rank(), "a child before its parent");
    }
    for (position, &slot) in queue.parked.iter().enumerate() {
        assert_eq!(queue.positions[slot as usize], PARKED | position as u32);
    }
    assert_eq!(queue.iter().count(), queue.len());
    let follow = |index: u32| Some(index).filter(|&index| index != NONE);
    let chain = std::iter::successors(follow(queue.vacant), |&index| follow(queue.positions[index as usize]));
    assert_eq!(chain.count(), queue.slots.len() - queue.len());
}

#[test]
fn equal_deadlines_fire_in_the_order_of_scheduling() {
    let mut queue = TimerQueue::new();
    for value in 0..100 {
        queue.schedule(at(5), value);
    }
    assert_eq!(drain(&mut queue, at(5)), Vec::from_iter(0..100));
}

#[test]
fn timers_scheduled_after_the_mark_wait_for_the_next_turn() {
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
fn parked_timers_can_be_cancelled_or_reset() {
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
fn a_timer_reset_inside_a_turn_waits_for_the_next_turn() {
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
fn a_reset_to_a_later_deadline_does_not_move_the_heap_entry() {
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
fn a_reset_to_an_earlier_deadline_is_exact() {
    // The new deadline lies between that of the heap entry and the effective one.
    let mut queue = TimerQueue::new();
    let key = queue.schedule(at(5), "moved");
    queue.schedule(at(20), "other");
    queue.reset(key, at(100));
    queue.reset(key, at(20));
    assert_eq!(queue.next_deadline(), Some(at(20)));
    assert_eq!(drain(&mut queue, at(20)), ["other", "moved"]);
}

#[test]
fn a_timer_that_is_never_due_has_no_next_deadline() {
    let mut queue = TimerQueue::new();
    let key = queue.schedule(Moment::NEVER, "never");
    assert_eq!(queue.next_deadline(), None);
    assert_eq!(drain(&mut queue, Moment::NEVER), Vec::<&str>::new());
    assert_eq!(queue.deadline(key), Some(Moment::NEVER));
    queue.reset(key, at(7));
    assert_eq!(drain(&mut queue, at(7)), ["never"]);
}

#[test]
fn the_key_of_a_removed_timer_matches_nothing() {
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
fn repeated_cancelled_timeouts_keep_no_memory() {
    let mut queue = TimerQueue::new();
    for nanos in 0..100_000 {
        let key = queue.schedule(at(nanos), nanos);
        assert_eq!(queue.cancel(key), Some(nanos));
    }
    assert!(queue.slots.capacity() <= KEEP && queue.heap.capacity() <= KEEP);
}

#[test]
fn memory_shrinks_after_a_burst() {
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
    assert!(!queue.contains(stale), "a slot that was created again matches an old key");
}

#[test]
fn memory_shrinks_when_the_last_timer_of_a_burst_leaves() {
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

/// A sorted list of timers: rows of (deadline, order of scheduling or last reset, value).
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
        let position = self.rows.iter().position(is_ready)?;
        Some(self.rows.remove(position).2)
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.rows.first().map(|row| at(row.0)).filter(|&deadline| deadline != Moment::NEVER)
    }
}

/// A queue and its model. Each step runs on both, and the results must be equal.
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
    fn the_queue_equals_a_sorted_list(
        scheduled in prop::collection::vec(deadline(), 0..150),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut pair = Pair::default();
        for nanos in scheduled {
            pair.run(&Step::Schedule(nanos), None);
        }
        let mut turn = None;
        let mut pops = 0;
        for step in &steps {
            // Inside a turn, each step is the work of one callback before the next timer is popped.
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

#[test]
fn many_due_timers_are_sorted_at_once() {
    // Timers that are cancelled or reset after the sorting do not fire in this turn.
    let mut queue = TimerQueue::new();
    let keys: Vec<_> = (0..1000u64).map(|id| queue.schedule(at(id * 7 % 1000), id)).collect();
    let mark = queue.mark();
    assert_eq!(queue.pop_due(at(900), mark).map(|(_, id)| id), Some(0));
    assert_eq!(queue.sorted.len(), 900, "sorted at once");
    assert!(queue.heap.len() < 100);
    let id_at = |nanos: u64| (nanos * 143 % 1000) as usize;
    assert_eq!(queue.cancel(keys[id_at(1)]), Some(id_at(1) as u64));
    assert!(queue.reset(keys[id_at(2)], at(5)), "scheduled after the mark");
    let unrelated = queue.schedule(at(3), 5000);
    assert_consistent(&queue);
    let popped: Vec<u64> = std::iter::from_fn(|| queue.pop_due(at(900), mark)).map(|(_, id)| id).collect();
    assert_eq!(popped, (3..=900).map(|nanos| id_at(nanos) as u64).collect::<Vec<_>>());
    assert_eq!(queue.next_deadline(), Some(at(3)));
    assert!(queue.contains(unrelated));
    assert_eq!(drain(&mut queue, at(900)), [5000, id_at(2) as u64]);
    assert_eq!(queue.len(), 99);
}
