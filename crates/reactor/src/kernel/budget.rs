//! The budget of a turn: how much work a turn does before it leaves the rest to the next turn.
//!
//! ```text
//!   dispatch    events                1/2 of the time
//!   prepare     calls from threads    1/4, then delayed calls 1/8, then tasks 1/8, and the time that is left over
//! ```
//!
//! Each kind of work makes progress in each turn, however much there is of the other kinds. Work that is left keeps its
//! place in its queue.

use std::cell::Cell;
use std::time::Duration;

use ropewalk_proto::Moment;

/// The number of callbacks of one kind in a turn, unless the user chooses another.
///
/// Threads can queue calls faster than the loop makes them, and timers and connections must not wait for all of them.
const CALLS: usize = 2048;

/// The most work that a turn does. The next turn continues with the rest.
///
/// There are four kinds of work: events, calls from threads, delayed calls and tasks. The number of calls limits each
/// kind by itself. The time limits all of them together, and half of it is for events. In each turn at least one callback
/// of each kind is made, and a callback is never interrupted. So a turn exceeds its time by one callback, or by one of
/// each kind if each takes long.
///
/// The default is 2048 calls of each kind, and no limit of time.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::{Budget, Reactor};
///
/// let reactor = Reactor::new()?;
/// reactor.set_budget(Budget::of(Duration::from_millis(4)).calls(500));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub(super) calls: usize,
    pub(super) time: Option<Duration>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { calls: CALLS, time: None }
    }
}

impl Budget {
    /// Limits the time of a turn, by the clock of the provider.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Budget;
    ///
    /// let smooth = Budget::of(Duration::from_millis(4)); // a window that draws 60 frames a second has 16 ms for each
    /// # assert_ne!(smooth, Budget::default());
    /// ```
    pub fn of(time: Duration) -> Budget {
        Budget { time: Some(time), ..Budget::default() }
    }

    /// Limits the number of callbacks of each kind. Zero means one.
    ///
    /// ```
    /// use ropewalk::Budget;
    ///
    /// let small = Budget::default().calls(100);
    /// # assert_ne!(small, Budget::default());
    /// ```
    #[must_use]
    pub fn calls(self, calls: usize) -> Budget {
        Budget { calls: calls.max(1), ..self }
    }
}

/// The budget of the turns, and how far the present part of a turn has come.
#[derive(Default)]
pub(super) struct Allowance {
    pub(super) budget: Cell<Budget>,
    /// The budget of a turn that a host makes.
    pub(super) of_host: Cell<Option<Budget>>,
    /// The time at which the present part of the turn is over.
    pub(super) end: Cell<Option<Moment>>,
    /// Whether the present turn takes the time that it needs, because no other turn may follow.
    pub(super) is_last_turn: Cell<bool>,
}

/// The calls and the time of one kind of work in a part of a turn.
pub(crate) struct Share {
    /// The number of callbacks that may still be made.
    pub(crate) calls: usize,
    pub(super) end: Option<Moment>,
}
