//! What will happen on the network, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;

use ropewalk_proto::{Key, Moment};

/// Something that will happen without anybody's doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// A connection attempt reaches the listening side.
    Asked { client: Key },
    /// The outcome of a connection attempt reaches the client.
    Answered { client: Key, outcome: Result<(), io::ErrorKind> },
    /// Something that is under way to this end arrives.
    Arrived { key: Key },
}

/// Happenings in the order of their time; those of the same time in the order in which they were entered.
#[derive(Default)]
pub(super) struct Calendar {
    entries: BinaryHeap<Entry>,
    entered: u64,
}

struct Entry {
    at: Moment,
    sequence: u64,
    happening: Happening,
}

impl Calendar {
    /// Enters what happens at `at`.
    pub(super) fn enter(&mut self, at: Moment, happening: Happening) {
        self.entries.push(Entry { at, sequence: self.entered, happening });
        self.entered += 1;
    }

    /// Takes out the next happening that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Happening> {
        self.next_at().filter(|&at| at <= now)?;
        self.entries.pop().map(|entry| entry.happening)
    }

    /// Forgets happenings at the front that `is_void`, so that time does not stop for them.
    pub(super) fn drop_void(&mut self, is_void: impl Fn(&Happening) -> bool) {
        while self.entries.peek().is_some_and(|entry| is_void(&entry.happening)) {
            self.entries.pop();
        }
    }

    /// When the next one happens.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.entries.peek().map(|entry| entry.at)
    }
}

impl Ord for Entry {
    /// Reversed, because the heap gives its greatest first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
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
    fn happenings_come_in_the_order_of_time_and_then_of_entry() {
        let mut calendar = Calendar::default();
        for (at, index) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            calendar.enter(Moment::from_nanos(at), arrived(index));
        }
        assert_eq!(pop(&mut calendar, 2), None);
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut calendar, 5)).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn time_does_not_stop_for_what_is_void() {
        let mut calendar = Calendar::default();
        calendar.enter(Moment::from_nanos(1), arrived(1));
        calendar.enter(Moment::from_nanos(2), arrived(2));
        calendar.drop_void(|happening| matches!(happening, Happening::Arrived { key } if key.index() == 1));
        assert_eq!(calendar.next_at(), Some(Moment::from_nanos(2)));
    }
}
