//! One turn: prepare, wait, dispatch.
//!
//! ```text
//!  prepare:  calls from threads (those queued when it began)
//!            due delayed calls, in (deadline, order of scheduling), from a snapshot
//!            tasks that were woken
//!            stop, if it was asked for
//!            what was written outside a callback leaves
//!  wait:     until the next deadline, or an event
//!  dispatch: events, in the provider's order
//! ```
//!
//! The source of the order is Twisted's `ReactorBase.runUntilCurrent` and `mainLoop`.

use std::time::Duration;

use super::{CallbackKind, Kernel, Reactor};
use crate::error::{Error, Result};

impl Reactor {
    /// First part of a turn, for a host loop: runs what is due, and says how long the loop may sleep.
    ///
    /// `None` is without end; zero means that there is more to do at once, or that the run has ended in it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// assert_eq!(clock.prepare()?, None); // nothing will ever happen
    /// clock.call_later(Duration::from_secs(3), |_| ());
    /// assert_eq!(clock.prepare()?, Some(Duration::from_secs(3)));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Waiting`] while a [`DetachedWait`](super::DetachedWait) is out; [`Error::Forked`] in the child of a fork
    /// that happened since `run` began.
    pub fn prepare(&self) -> Result<Option<Duration>> {
        if self.0.is_forked() {
            return Err(Error::Forked);
        }
        self.0.provider(|_| ())?;
        self.0.set_sleeping(false);
        self.run_thread_calls();
        self.run_due_calls();
        self.0.features.each(|hooks| hooks.turn(self));
        self.settle_all();
        self.0.set_sleeping(true);
        Ok(self.0.sleep_limit())
    }

    /// Second part of a turn: collects events, blocking for at most `timeout`; `None` waits without end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.call_later(Duration::from_secs(3), |_| println!("ding"));
    /// while let Some(limit) = clock.prepare()? {
    ///     clock.wait(Some(limit))?;
    ///     clock.dispatch();
    /// }
    /// assert_eq!(clock.seconds(), 3.0); // and nothing is left to be done
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system cannot wait at all, [`Error::Waiting`] while the provider is away.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        let mut collected = self.0.collected.take();
        let waited = self.0.provider(|provider| provider.wait(timeout, &mut collected));
        self.0.inbox.borrow_mut().events.append(&mut collected);
        self.0.collected.set(collected);
        waited?.map_err(Error::io("cannot wait for events"))
    }

    /// One pass: due work, then events, waiting for at most `delay`. `None` waits until something happens.
    ///
    /// What due work brought about is no event: who turns the loop until something has come gives a `delay`, or the last
    /// wait may have nothing to wait for.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let called = Rc::new(Cell::new(false));
    /// let mark = called.clone();
    /// reactor.call_later(Duration::from_millis(1), move |_| mark.set(true));
    /// while !called.get() {
    ///     reactor.iterate(Some(Duration::from_millis(100)))?;
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`prepare`](Reactor::prepare) and [`wait`](Reactor::wait).
    pub fn iterate(&self, delay: Option<Duration>) -> Result<()> {
        let limit = self.prepare()?;
        let timeout = match (limit, delay) {
            (Some(limit), Some(delay)) => Some(limit.min(delay)),
            (limit, delay) => limit.or(delay),
        };
        self.wait(timeout)?;
        self.dispatch();
        Ok(())
    }

    fn run_thread_calls(&self) {
        let count = {
            let mut batch = self.0.batch.borrow_mut();
            self.0.calls.move_to(&mut batch);
            batch.len()
        };
        // One by one: a call that runs the loop is followed by those behind it, within that loop.
        for _ in 0..count {
            let next = self.0.batch.borrow_mut().pop_front();
            let Some(call) = next else { break };
            let name = call.name();
            let _ = self.0.guard(CallbackKind::ThreadCall, name, || call.call(self));
        }
    }

    fn run_due_calls(&self) {
        if self.0.timers.borrow().is_empty() {
            return;
        }
        let now = self.0.now();
        self.0.turn_now.set(now);
        let mark = self.0.timers.borrow().mark();
        loop {
            let due = self.0.timers.borrow_mut().pop_due(now, mark);
            let Some((_, call)) = due else { break };
            let name = call.name();
            let _ = self.0.guard(CallbackKind::DelayedCall, name, || call.call(self));
        }
    }

    /// Settles the sources that were changed outside their own callbacks.
    fn settle_all(&self) {
        // Settling may call producers, which may write to others: those settle in the same pass, and what asks for more
        // than a few passes waits for the next turn.
        for _ in 0..4 {
            if self.0.unsettled.borrow().is_empty() {
                return;
            }
            let mut sources = self.0.unsettled.take();
            for source in sources.drain(..) {
                source.settle(self);
            }
            let mut unsettled = self.0.unsettled.borrow_mut();
            if unsettled.is_empty() {
                *unsettled = sources;
                return;
            }
        }
    }
}

impl Kernel {
    fn sleep_limit(&self) -> Option<Duration> {
        // Settling may have woken a task after the tasks had their turn.
        let has_work = !self.unsettled.borrow().is_empty() || self.features.has_work();
        // This loop may run in a callback, before the events behind that one.
        if has_work || !self.inbox.borrow().events.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.timers.borrow().is_empty() {
            return None;
        }
        let deadline = self.timers.borrow_mut().next_deadline()?;
        Some(deadline - self.now())
    }
}
