//! The reactor that runs on this thread.

use std::cell::RefCell;

use super::Reactor;

thread_local! {
    static RUNNING: RefCell<Vec<Reactor>> = const { RefCell::new(Vec::new()) };
}

impl Reactor {
    /// The reactor that runs on this thread, inside [`run`](Reactor::run). Nothing needs it: callbacks are given theirs.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// assert!(Reactor::current().is_none());
    /// let reactor = Reactor::new()?;
    /// reactor.call_when_running(|_| Reactor::current().expect("this one").stop().unwrap());
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn current() -> Option<Reactor> {
        RUNNING.with_borrow(|running| running.last().cloned())
    }
}

/// Makes `reactor` the current one until the result is dropped.
pub(crate) fn enter(reactor: &Reactor) -> Entered {
    RUNNING.with_borrow_mut(|running| running.push(reactor.clone()));
    Entered
}

pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}
