//! Events that wait to be reported, in their order, merged if the watcher settles, and bounded.
//!
//! ```text
//!   at once    push -> take            a place that waits for the second half of a move holds back what follows
//!   settling   push ... push -> quiet for a time, or the first one is old -> take
//! ```

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use ropewalk_proto::Moment;

use super::event::FileEvent;
use super::merging::merged;

/// The number of events that are kept. More count as lost.
const MAX_EVENTS: usize = 16_384;

/// The number of quiet times after which events are reported although they never pause.
const MAX_QUIET_TIMES: u32 = 10;

/// A place in the order of events.
enum Place {
    Event(FileEvent),
    /// The event is not known yet.
    Open,
    /// No event is left of it.
    Empty,
}

/// The events that wait.
pub(super) struct Pending {
    settle: Option<Duration>,
    places: VecDeque<Place>,
    /// The number of the first place.
    first: u64,
    has_lost: bool,
    /// The places of settling paths.
    by_path: HashMap<PathBuf, u64>,
    /// The times of the first and the last event since events were taken.
    times: Option<(Moment, Moment)>,
}

impl Pending {
    pub(super) fn new(settle: Option<Duration>) -> Pending {
        Pending { settle, places: VecDeque::new(), first: 0, has_lost: false, by_path: HashMap::new(), times: None }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: FileEvent, now: Moment) {
        self.touch(now);
        if event == FileEvent::Lost {
            return self.lose();
        }
        match (self.settle, event) {
            (Some(_), FileEvent::Moved { from, to }) => {
                self.merge(FileEvent::Removed(from));
                self.merge(FileEvent::Changed(to));
            }
            (Some(_), event) => self.merge(event),
            // The same directory may be watched twice.
            (None, event) if self.is_last(&event) => {}
            (None, event) => {
                self.add(Place::Event(event));
            }
        }
    }

    /// Keeps the place of an event that is not known yet. A watcher that settles needs none.
    pub(super) fn open(&mut self, now: Moment) -> Option<u64> {
        self.touch(now);
        match self.settle {
            Some(_) => None,
            None => self.add(Place::Open),
        }
    }

    /// Puts an event in the place that was kept for it.
    pub(super) fn fill(&mut self, place: u64, event: FileEvent) {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(place @ Place::Open) = index.and_then(|index| self.places.get_mut(index)) {
            *place = Place::Event(event);
        }
    }

    /// Returns the time at which the events should be taken, or `None` if no event can be taken.
    pub(super) fn due(&self) -> Option<Moment> {
        let (first, last) = self.times.filter(|_| !self.is_held())?;
        let quiet = self.settle.unwrap_or_default();
        Some((last + quiet).min(first + quiet.saturating_mul(MAX_QUIET_TIMES)))
    }

    /// Returns the events that are due, in their order.
    pub(super) fn take(&mut self, now: Moment) -> Vec<FileEvent> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let lost = std::mem::take(&mut self.has_lost).then_some(FileEvent::Lost);
        let mut batch = Vec::from_iter(lost);
        while let Some(place) = self.places.pop_front() {
            self.first += 1;
            match place {
                Place::Event(event) => batch.push(event),
                Place::Empty => {}
                Place::Open => {
                    self.places.push_front(Place::Open);
                    self.first -= 1;
                    break;
                }
            }
        }
        self.by_path.clear();
        // Events that an open place holds back are taken after it has been filled.
        self.times = if self.places.is_empty() { None } else { self.times };
        batch
    }

    /// Returns whether an open place holds back the other events.
    fn is_held(&self) -> bool {
        matches!(self.places.front(), Some(Place::Open)) && !self.has_lost
    }

    fn touch(&mut self, now: Moment) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }

    fn is_last(&self, event: &FileEvent) -> bool {
        matches!(self.places.back(), Some(Place::Event(last)) if last == event)
    }

    fn add(&mut self, place: Place) -> Option<u64> {
        if self.places.len() >= MAX_EVENTS {
            self.lose();
            return None;
        }
        self.places.push_back(place);
        Some(self.first + self.places.len() as u64 - 1)
    }

    fn merge(&mut self, event: FileEvent) {
        let path = match event.path() {
            // The end of a watch is no state of the path.
            Some(path) if !matches!(event, FileEvent::Ended(..)) => path.to_owned(),
            _ => {
                self.add(Place::Event(event));
                return;
            }
        };
        let Some(place) = self.by_path.get(&path).copied() else {
            if let Some(place) = self.add(Place::Event(event)) {
                self.by_path.insert(path, place);
            }
            return;
        };
        let Some(index) = usize::try_from(place - self.first).ok() else { return };
        let Some(place) = self.places.get_mut(index) else { return };
        let before = match std::mem::replace(place, Place::Empty) {
            Place::Event(before) => before,
            // It was created and removed.
            Place::Open | Place::Empty => {
                *place = Place::Event(event);
                return;
            }
        };
        if let Some(event) = merged(&before, event) {
            *place = Place::Event(event);
        }
    }

    fn lose(&mut self) {
        self.first += self.places.len() as u64;
        self.places.clear();
        self.by_path.clear();
        self.has_lost = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(100);

    fn created(path: &str) -> FileEvent {
        FileEvent::Created(path.into())
    }

    fn changed(path: &str) -> FileEvent {
        FileEvent::Changed(path.into())
    }

    fn removed(path: &str) -> FileEvent {
        FileEvent::Removed(path.into())
    }

    fn after(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn events_are_reported_in_their_order() {
        let (mut pending, now) = (Pending::new(None), after(0));
        assert_eq!((pending.due(), pending.take(now)), (None, vec![]));
        let events = [created("a"), changed("a"), created("b"), changed("a")];
        events.iter().cloned().for_each(|event| pending.push(event, now));
        assert_eq!((pending.due(), pending.take(now)), (Some(now), events.to_vec()));
        assert_eq!((pending.due(), pending.take(now)), (None, vec![]));
    }

    #[test]
    fn an_event_that_is_seen_twice_is_reported_once() {
        let (mut pending, now) = (Pending::new(None), after(0));
        [changed("a"), changed("a"), changed("b")].into_iter().for_each(|event| pending.push(event, now));
        assert_eq!(pending.take(now), [changed("a"), changed("b")]);
    }

    #[test]
    fn an_open_place_holds_back_what_follows() {
        let (mut pending, now) = (Pending::new(None), after(0));
        pending.push(created("a"), now);
        let place = pending.open(now).unwrap();
        pending.push(created("b"), now);
        assert_eq!(pending.take(now), [created("a")]);
        assert_eq!((pending.is_held(), pending.take(now)), (true, vec![]));
        let moved = FileEvent::Moved { from: "a".into(), to: "c".into() };
        pending.fill(place, moved.clone());
        assert_eq!((pending.is_held(), pending.take(now)), (false, vec![moved, created("b")]));
        pending.fill(place, removed("a")); // stale
        assert_eq!(pending.take(now), []);
    }

    #[test]
    fn settled_events_are_reported_after_a_quiet_time() {
        let mut pending = Pending::new(Some(QUIET));
        pending.push(changed("cert.pem"), after(0));
        pending.push(changed("key.pem"), after(60));
        assert_eq!((pending.due(), pending.take(after(159))), (Some(after(160)), vec![]));
        assert_eq!(pending.take(after(160)), [changed("cert.pem"), changed("key.pem")]);
        assert_eq!(pending.due(), None);
    }

    #[test]
    fn events_that_never_pause_are_reported_at_last() {
        let mut pending = Pending::new(Some(QUIET));
        for time in (0..1000).step_by(50) {
            pending.push(changed("log"), after(time));
            assert_eq!(pending.take(after(time)), [], "{time}");
        }
        assert_eq!(pending.take(after(1000)), [changed("log")]);
    }

    #[test]
    fn settled_moves_are_changes_of_two_names() {
        // An editor: write a copy, and move it over the file.
        let mut pending = Pending::new(Some(QUIET));
        let moved = FileEvent::Moved { from: "cert.tmp".into(), to: "cert.pem".into() };
        [created("cert.tmp"), changed("cert.tmp"), moved].into_iter().for_each(|event| pending.push(event, after(0)));
        assert_eq!(pending.take(after(100)), [changed("cert.pem")]);
        // Nothing but a temporary file.
        [created("x"), removed("x")].into_iter().for_each(|event| pending.push(event, after(0)));
        assert_eq!((pending.take(after(100)), pending.due()), (vec![], None));
        [created("x"), removed("x"), created("x")].into_iter().for_each(|event| pending.push(event, after(0)));
        assert_eq!(pending.take(after(100)), [created("x")]);
    }

    #[test]
    fn too_many_events_are_lost() {
        for settle in [None, Some(QUIET)] {
            let mut pending = Pending::new(settle);
            for number in 0..=MAX_EVENTS {
                pending.push(created(&number.to_string()), after(0));
            }
            pending.push(created("later"), after(0));
            assert_eq!(pending.take(after(100)), [FileEvent::Lost, created("later")], "{settle:?}");
        }
    }

    #[test]
    fn a_loss_replaces_earlier_events() {
        let (mut pending, now) = (Pending::new(None), after(0));
        let place = pending.open(now).unwrap();
        [created("a"), FileEvent::Lost, created("b")].into_iter().for_each(|event| pending.push(event, now));
        pending.fill(place, removed("x"));
        assert_eq!(pending.take(now), [FileEvent::Lost, created("b")]);
    }
}
