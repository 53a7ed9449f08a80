//! Events on their way to their sources.

use std::rc::Rc;

use ropewalk_proto::SecondaryMap;
use ropewalk_sys::Event;

use super::Source;
use super::pending_events::PendingEvents;

/// The sources of a reactor, and the events that were not dispatched yet: one borrow finds both.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) sources: SecondaryMap<Rc<dyn Source>>,
    pub(super) events: PendingEvents,
}

/// The result of [`Inbox::next`].
pub(super) enum Next {
    /// The next event and its source.
    Event(Event, Rc<dyn Source>),
    /// The next event was for a source that is gone.
    Stale,
    /// There is no event left.
    None,
}

impl Inbox {
    /// Takes the next event.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Next {
        let Some(event) = self.events.pop() else { return Next::None };
        match self.sources.get(event.key) {
            Some(source) => Next::Event(event, source.clone()),
            None => Next::Stale,
        }
    }
}
