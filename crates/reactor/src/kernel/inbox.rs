//! Events on their way to their sources.

use std::rc::Rc;

use ropewalk_proto::SecondaryMap;
use ropewalk_sys::Event;

use super::pending_events::PendingEvents;

/// The sources of a reactor, and the events that were not dispatched yet. They share a cell, so that dispatch borrows
/// once for both.
pub(super) struct Inbox<S: ?Sized> {
    pub(super) sources: SecondaryMap<Rc<S>>,
    pub(super) events: PendingEvents,
}

/// The result of [`Inbox::next`].
pub(super) enum Next<S: ?Sized> {
    /// The next event and its source.
    Event(Event, Rc<S>),
    /// The next event was for a source that is gone.
    Stale,
    /// There is no event left.
    None,
}

impl<S: ?Sized> Default for Inbox<S> {
    fn default() -> Inbox<S> {
        Inbox { sources: SecondaryMap::default(), events: PendingEvents::default() }
    }
}

impl<S: ?Sized> Inbox<S> {
    /// Takes the next event.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Next<S> {
        let Some(event) = self.events.pop() else { return Next::None };
        match self.sources.get(event.key) {
            Some(source) => Next::Event(event, source.clone()),
            None => Next::Stale,
        }
    }
}
