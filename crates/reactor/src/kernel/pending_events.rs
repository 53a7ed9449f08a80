//! Events between the wait that collected them and their dispatch.

use ropewalk_sys::{Event, Events};

/// A queue that each wait fills with a batch, and that dispatch empties event by event.
#[derive(Default)]
pub(super) struct PendingEvents {
    events: Events,
    /// The index of the next event to take.
    next: usize,
}

impl PendingEvents {
    /// Returns a buffer for a wait to fill. Reuses the buffer of the last wait, unless that buffer still holds events.
    pub(super) fn take_buffer(&mut self) -> Events {
        if !self.is_empty() {
            return Events::new();
        }
        self.next = 0;
        std::mem::take(&mut self.events)
    }

    /// Appends the events that a wait collected.
    pub(super) fn append(&mut self, mut collected: Events) {
        if self.is_empty() {
            *self = PendingEvents { events: collected, next: 0 };
        } else {
            self.events.append(&mut collected);
        }
    }

    /// Inserts the events of an earlier wait before the queued ones, and leaves `earlier` empty.
    pub(super) fn prepend(&mut self, earlier: &mut Events) {
        earlier.append(&mut self.take_rest());
        self.next = 0;
        self.events.clear();
        std::mem::swap(&mut self.events, earlier);
    }

    /// Takes all queued events.
    pub(super) fn take_rest(&mut self) -> Events {
        self.events.split_off(self.next)
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = *self.events.get(self.next)?;
        self.next += 1;
        Some(event)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len() - self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use ropewalk_proto::Key;
    use ropewalk_sys::Ready;

    use super::*;

    fn events(indexes: std::ops::Range<u32>) -> Events {
        indexes.map(|index| Event { key: Key::new(index, 0), ready: Ready::READ }).collect()
    }

    #[test]
    fn events_keep_the_order_of_the_waits_that_collected_them() {
        let mut pending = PendingEvents::default();
        pending.append(events(0..3));
        assert_eq!(pending.pop().map(|event| event.key.index()), Some(0));
        assert_eq!(pending.take_buffer().capacity(), 0);
        pending.append(events(3..5));
        assert_eq!(pending.len(), 4);
        let left: Vec<u32> = std::iter::from_fn(|| pending.pop()).map(|event| event.key.index()).collect();
        assert_eq!(left, [1, 2, 3, 4]);
        assert!(pending.take_buffer().capacity() > 0);
        pending.append(events(5..6));
        assert_eq!(pending.pop().map(|event| event.key.index()), Some(5));
        assert!(pending.is_empty());
    }

    #[test]
    fn events_of_an_earlier_wait_precede_those_of_a_later_one() {
        let mut pending = PendingEvents::default();
        pending.append(events(2..5));
        assert_eq!(pending.pop().map(|event| event.key.index()), Some(2));
        let mut earlier = events(0..2);
        pending.prepend(&mut earlier);
        assert!(earlier.is_empty());
        let left: Vec<u32> = std::iter::from_fn(|| pending.pop()).map(|event| event.key.index()).collect();
        assert_eq!(left, [0, 1, 3, 4]);
        pending.prepend(&mut events(5..6));
        assert_eq!(pending.len(), 1);
    }
}
