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

use super::{Kernel, Reactor};
use crate::error::Result;

/// The delay of a due call above which the loop looks for events first. Below it, the wait that ended at the deadline
/// has just looked.
pub(super) const PUNCTUAL: Duration = Duration::from_millis(5);

/// The number of events that the provider may report in several waits, although all of them have arrived.
const EVENTS_IN_A_WAIT: usize = 1024;

impl Kernel {
    /// Returns whether a call is due that should have run some time ago.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        self.timers.borrow_mut().next_deadline().is_some_and(|due| now.since(due) > PUNCTUAL)
    }
}

impl Reactor {
    /// Handles the events that have arrived, and polls the tasks that they woke.
    ///
    /// # Errors
    /// The errors of [`wait`](Reactor::wait).
    #[cold]
    pub(super) fn catch_up(&self) -> Result<()> {
        // Every source can be reported once, and no more: sources that are always ready must not delay the calls.
        let waits = self.0.inbox.borrow().sources.len() / EVENTS_IN_A_WAIT + 1;
        for _ in 0..waits {
            // A call from another thread may have detached the wait.
            if self.0.check_present().is_err() {
                break;
            }
            self.wait(Some(Duration::ZERO))?;
            let count = self.0.inbox.borrow().events.len();
            self.dispatch();
            if count < EVENTS_IN_A_WAIT {
                break;
            }
        }
        if self.0.attention.is_asked() {
            self.0.features.each(|hooks| hooks.caught_up(self));
        }
        Ok(())
    }
}
