//! Catching up after a standstill: the loop looks for events before it runs calls that became due meanwhile.
//!
//! A stopped process, a suspended machine or a long callback may let a deadline pass although its event has arrived. A
//! call that closes an idle connection would then run before the bytes are delivered that keep the connection open.
//!
//! A call whose deadline had passed before the last wait began needs no look. Otherwise each turn of a busy loop would
//! handle events twice.
//!
//! ```text
//!   deadline   standstill over      prepare                              the same prepare
//!   ----|------------|--------------> late: wait(0), dispatch, tasks ----> the due calls that are left
//! ```

use std::time::Duration;

use ropewalk_proto::Moment;
use ropewalk_sys::EVENTS_PER_WAIT;

use super::{Kernel, Reactor};
use crate::error::Result;

/// The delay of a due call above which the loop looks for events first. Below it, the wait that ended at the deadline
/// has just looked.
pub(super) const PUNCTUAL: Duration = Duration::from_millis(5);

impl Kernel {
    /// Returns whether a call is due that should have run some time ago.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        self.timers.borrow_mut().next_deadline().is_some_and(|due| now.since(due) > PUNCTUAL)
    }
}

impl Reactor {
    /// Handles the events that have arrived, and polls the tasks that they woke. Returns false if the budget of the turn
    /// is used up, and there may be more events.
    ///
    /// # Errors
    /// The errors of [`wait`](Reactor::wait).
    #[cold]
    pub(super) fn catch_up(&self) -> Result<bool> {
        let end = self.0.part_end();
        // Every source can be reported once, and no more: sources that are always ready must not delay the calls.
        let waits = self.0.inbox.borrow().sources.len() / EVENTS_PER_WAIT + 1;
        for _ in 0..waits {
            // A call from another thread may have detached the wait.
            if self.0.check_present().is_err() {
                break;
            }
            self.0.waited.set(self.0.now());
            self.wait(Some(Duration::ZERO))?;
            let count = self.0.inbox.borrow().events.len();
            self.dispatch();
            self.0.set_part_end(end);
            if self.0.has_events() || self.0.rest_of_part().is_over(&self.0) {
                return Ok(false);
            }
            // A few events say nothing about the rest: some events of a full wait may have been the provider's own.
            if count == 0 {
                break;
            }
        }
        if self.0.attention.is_asked() {
            self.0.features.each(|hooks| hooks.caught_up(self));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use ropewalk_proto::Key;
    use ropewalk_sys::{Event, EventProvider, Events, ProviderDecorator, Ready};

    use super::*;
    use crate::kernel::Source;
    use crate::testing::{Faults, Simulated};

    /// A provider with events for many sources. In its first wait, one event is its own.
    struct Crowded {
        provider: Simulated,
        events: Events,
    }

    impl ProviderDecorator for Crowded {
        fn decorated(&self) -> &dyn EventProvider {
            &self.provider
        }

        fn decorated_mut(&mut self) -> &mut dyn EventProvider {
            &mut self.provider
        }

        fn wait(&mut self, _timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
            let count = self.events.len().min(EVENTS_PER_WAIT - 1);
            *events = self.events.drain(..count).collect();
            Ok(())
        }
    }

    #[derive(Default)]
    struct Counts(Cell<usize>);

    impl Source for Counts {
        fn ready(self: Rc<Counts>, _reactor: &Reactor, _key: Key, _ready: Ready, _scratch: &mut [u8]) {
            self.0.set(self.0.get() + 1);
        }

        fn shut_down(self: Rc<Counts>, _reactor: &Reactor) {}
    }

    #[test]
    fn all_events_that_have_arrived_precede_late_calls() {
        let keys = || (0..EVENTS_PER_WAIT as u32 + 100).map(|index| Key::new(index, 0));
        let events = keys().map(|key| Event { key, ready: Ready::READ }).collect();
        let provider = Simulated::new(0, Faults::none());
        let reactor = Reactor::with_provider(Box::new(Crowded { provider, events }));
        let counts = Rc::new(Counts::default());
        keys().for_each(|key| reactor.0.add_source(key, counts.clone()));
        reactor.catch_up().unwrap();
        assert_eq!(counts.0.get(), keys().count());
    }
}
