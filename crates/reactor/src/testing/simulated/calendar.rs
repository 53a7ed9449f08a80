//! The changes of the network that are scheduled, with their times.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;

use ropewalk_proto::{Key, Moment, Random};

use super::children::ChildId;
use super::machines::MachineId;

/// A scheduled change of the network.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// A connection attempt reaches the listening side, after `lost` earlier transmissions were lost.
    Asked { client: Key, lost: u32 },
    /// The outcome of a connection attempt reaches the client.
    Answered { client: Key, outcome: Result<(), io::ErrorKind> },
    /// A segment under way to this end arrives.
    Arrived { key: Key },
    /// Bytes for an end that no longer exists reach its machine, after `lost` earlier transmissions were lost.
    Strayed { key: Key, lost: u32 },
    /// A datagram arrives.
    Flown { number: u64 },
    /// The machine of a datagram's destination reports that no socket is there.
    Refused { key: Key },
    /// The parent of a child that has ended learns of the exit.
    Exited { child: ChildId },
    /// The last copies of the descriptors of a child that has ended are closed.
    Released { child: ChildId },
}

/// Happenings in the order of their time.
///
/// Happenings of the same time and machine keep the order in which they were entered. Among several machines the seed
/// decides the order, separately for each time.
pub(super) struct Calendar {
    entries: BinaryHeap<Entry>,
    entered: u64,
    seed: u64,
}

struct Entry {
    order: (Moment, u64, u64),
    happening: Happening,
}

impl Calendar {
    /// Returns an empty calendar.
    pub(super) fn new(seed: u64) -> Calendar {
        Calendar { entries: BinaryHeap::new(), entered: 0, seed }
    }

    /// Schedules `happening` for `at`, on behalf of the machine `origin`.
    pub(super) fn enter(&mut self, at: Moment, origin: MachineId, happening: Happening) {
        let rank = Random::new(self.seed ^ at.as_nanos() ^ (origin.0 as u64).rotate_right(16)).bits();
        self.entries.push(Entry { order: (at, rank, self.entered), happening });
        self.entered += 1;
    }

    /// Removes and returns the next happening that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Happening> {
        self.next_at().filter(|&at| at <= now)?;
        self.entries.pop().map(|entry| entry.happening)
    }

    /// Removes the first happenings as long as `is_void` is true for them, so that no wait stops at their times.
    pub(super) fn drop_void(&mut self, is_void: impl Fn(&Happening) -> bool) {
        while self.entries.peek().is_some_and(|entry| is_void(&entry.happening)) {
            self.entries.pop();
        }
    }

    /// Returns the time of the next happening.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.entries.peek().map(|entry| entry.order.0)
    }
}

impl Ord for Entry {
    /// Compares in reverse, because the heap yields its greatest entry first.
    fn cmp(&self, other: &Entry) -> Ordering {
        other.order.cmp(&self.order)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::simulated::machines::OUTSIDE;

    fn arrived(index: u32) -> Happening {
        Happening::Arrived { key: Key::new(index, 0) }
    }

    fn pop(calendar: &mut Calendar, now: u64) -> Option<u32> {
        calendar.pop_due(Moment::from_nanos(now)).map(|happening| match happening {
            Happening::Arrived { key } => key.index(),
            other => panic!("entered only arrivals, got {other:?}"),
        })
    }

    #[test]
    fn happenings_are_ordered_by_time_then_by_entry() {
        let mut calendar = Calendar::new(7);
        for (at, index) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            calendar.enter(Moment::from_nanos(at), OUTSIDE, arrived(index));
        }
        assert_eq!(pop(&mut calendar, 2), None);
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut calendar, 5)).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn void_happenings_do_not_stop_the_time() {
        let mut calendar = Calendar::new(7);
        calendar.enter(Moment::from_nanos(1), OUTSIDE, arrived(1));
        calendar.enter(Moment::from_nanos(2), OUTSIDE, arrived(2));
        calendar.drop_void(|happening| matches!(happening, Happening::Arrived { key } if key.index() == 1));
        assert_eq!(calendar.next_at(), Some(Moment::from_nanos(2)));
    }

    #[test]
    fn the_seed_orders_happenings_of_several_machines() {
        let order = |seed| {
            let mut calendar = Calendar::new(seed);
            for index in 0..4 {
                calendar.enter(Moment::from_nanos(5), MachineId(index as usize), arrived(index));
            }
            Vec::from_iter(std::iter::from_fn(|| pop(&mut calendar, 5)))
        };
        assert_eq!(order(1), order(1));
        assert!((2..20).any(|seed| order(seed) != order(1)));
    }
}
