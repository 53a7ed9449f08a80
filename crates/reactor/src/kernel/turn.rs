//! A turn of the loop: prepare, wait, dispatch.
//!
//! ```text
//!  prepare:  calls from other threads that were queued when `prepare` began
//!          delayed calls that are due: by deadline, then in the order of scheduling. Calls added meanwhile wait.
//!              If one of them is late, the events that have arrived come first (`catching_up`)
//!          hooks, in their order: tasks, signals, a requested stop (see `interfaces::order`)
//!          settling: sends bytes that were written outside a callback
//!  wait:     until the next deadline, or an event
//!  dispatch: events, in the provider's order
//! ```
//!
//! The budget limits each of them (`budget`). This order is that of Twisted's `ReactorBase.runUntilCurrent` and `mainLoop`.

use std::io;
use std::time::Duration;

use ropewalk_proto::panics::catch;
use ropewalk_proto::{Mark, Moment};
use ropewalk_sys::EventProvider;

use super::budget::Share;
use super::catching_up::PUNCTUAL;
use super::{CallbackKind, Kernel, Reactor};
use crate::error::{Error, Result};

/// The maximum number of passes in which a turn settles connections. Connections that are still unsettled wait for the
/// next turn.
const SETTLE_PASSES: usize = 4;

impl Reactor {
    /// Runs due work, and returns how long the loop may sleep: the first part of a turn, for a host loop.
    ///
    /// Returns `None` if nothing limits the sleep, and zero if more work is waiting or the run ended in this call.
    ///
    /// After a standstill, such as a stop of the process, events that have arrived are handled before calls that became
    /// due meanwhile. So a timeout does not close a connection whose peer has answered in time.
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
    /// [`Error::Waiting`] while a [`DetachedWait`](super::DetachedWait) owns the provider. [`Error::Forked`] in a child
    /// process that inherited the reactor by a fork, until `run` or `start_running` reopens the provider. The errors of
    /// [`wait`](Reactor::wait) after a standstill.
    pub fn prepare(&self) -> Result<Option<Duration>> {
        self.0.check_usable()?;
        let _entered = self.0.enter();
        self.0.attention.set_asleep(false);
        self.0.turns_again.set(false);
        self.0.begin_part();
        self.run_thread_calls();
        self.run_due_calls()?;
        // If this turn runs in a callback, the hook that made that callback may have more work to do.
        if self.0.attention.take() || self.0.guard.is_in_callback() {
            self.0.features.each(|hooks| hooks.turn(self));
        }
        self.settle_all();
        self.0.attention.set_asleep(true);
        if self.0.is_watched.get() {
            self.submit()?;
        }
        Ok(self.0.sleep_limit())
    }

    /// Makes the requests that the provider has collected.
    fn submit(&self) -> Result<()> {
        // A callback may have detached the wait, which makes the requests itself.
        match self.0.provider("submit", EventProvider::submit) {
            Ok(submitted) => submitted.map_err(Error::io("cannot submit requests to the system")),
            Err(_away) => Ok(()),
        }
    }

    /// Waits for events for at most `timeout`, and collects them: the second part of a turn. `None` sets no limit.
    ///
    /// Returns at once if `dispatch` has left events, because the [budget](Reactor::set_budget) of a turn was used up.
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
    /// assert_eq!(clock.seconds(), 3.0); // the virtual time of the last call
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system cannot wait at all. [`Error::Panicked`] when the provider panics in three
    /// waits in a row. [`Error::Waiting`] while a [`DetachedWait`](super::DetachedWait) owns the provider.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        // A provider that comes back from a wait in another thread brings its events.
        self.0.check_present()?;
        // The provider would report them again.
        if self.0.has_events() {
            return Ok(());
        }
        self.0.asked.set(self.0.waited.get());
        // The inbox is not borrowed while the provider waits.
        let mut collected = self.0.inbox.borrow_mut().events.take_buffer();
        let waited = self.0.provider("wait", |provider| provider.wait(timeout, &mut collected));
        self.0.inbox.borrow_mut().events.append(collected);
        match waited? {
            Ok(()) => {
                self.0.forgive_panics();
                Ok(())
            }
            Err(error) => self.0.wait_failed(error),
        }
    }

    /// Makes one turn: runs due work, then waits for events for at most `delay`, and handles them. `None` waits until an
    /// event or a deadline comes.
    ///
    /// Runs the host's loop if the adapter of a [guest](crate::hosting) can do so. The host then handles its own events
    /// meanwhile.
    ///
    /// Due work runs before the wait, so its effects do not end the wait. A program that calls `iterate` until some due
    /// work has run must therefore give a `delay`. Without a `delay`, its last call of `iterate` may wait forever.
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
    /// The errors of [`prepare`](Reactor::prepare) and [`wait`](Reactor::wait).
    pub fn iterate(&self, delay: Option<Duration>) -> Result<()> {
        if let Some(hosted) = self.0.hosted() {
            if let Some(outcome) = hosted.iterate(self, delay) {
                self.resume_panic();
                return outcome;
            }
        }
        let limit = self.prepare()?;
        self.resume_panic();
        self.wait(shorter(limit, delay))?;
        self.dispatch();
        if let Some(hosted) = self.0.hosted() {
            // No `prepare` follows, which would see the work of this turn.
            self.0.host_may_sleep();
            hosted.work_changed();
        }
        self.resume_panic();
        Ok(())
    }

    /// Does now what `prepare` does at the end of a turn: sends the bytes that were written outside of callbacks, and
    /// carries out requests such as `lose_connection`, with the callbacks that follow from them. Does not wait, and
    /// handles no event, delayed call, task or call from a thread.
    ///
    /// A host loop calls this after code that used transports, when the effects must not wait for the next
    /// [`prepare`](Reactor::prepare): `connection_lost` after `abort_connection`, or `stop_factory` after
    /// [`Port::close_now`](crate::Port::close_now).
    ///
    /// May be called from any callback. The callbacks of other connections then run before this method returns. A
    /// connection whose own callback is running settles when that callback returns. If producers keep writing to each
    /// other, a part of their bytes waits for the next call or turn.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    /// use ropewalk::Reactor;
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle(); // of a `MemoryReactor`: makes turns until nothing is left to do
    /// let transport = server.transport().expect("it is connected");
    /// transport.abort_connection();
    /// assert!(server.lost().is_none());
    /// Reactor::settle(&net)?; // makes no turn
    /// assert!(server.lost().is_some());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Waiting`] while a [`DetachedWait`](super::DetachedWait) owns the provider. [`Error::Forked`] as for
    /// [`prepare`](Reactor::prepare). [`Error::Io`] when the operating system does not take the requests.
    pub fn settle(&self) -> Result<()> {
        self.0.check_usable()?;
        let _entered = self.0.enter();
        self.settle_all();
        self.submit()
    }

    fn run_thread_calls(&self) {
        let count = {
            let mut batch = self.0.batch.borrow_mut();
            if batch.is_empty() && !self.0.calls.are_waiting() {
                return;
            }
            // If this turn runs in a call of the batch, or after one that used up its budget, the batch has calls.
            let room = self.0.rest_of_part().calls.saturating_sub(batch.len());
            if room > 0 && self.0.calls.are_waiting() {
                self.0.calls.move_to(&mut batch, room);
            }
            batch.len()
        };
        let share = self.0.half_of_part();
        // The calls are taken one by one: if a call runs the loop, that inner loop makes the remaining calls.
        for _ in 0..count.min(share.calls) {
            let next = self.0.batch.borrow_mut().pop_front();
            let Some(call) = next else { break };
            let name = call.name();
            let _ = self.0.guard(CallbackKind::ThreadCall, name, || call.call(self));
            if share.is_over(&self.0) {
                break;
            }
        }
    }

    fn run_due_calls(&self) -> Result<()> {
        if self.0.timers.borrow().is_empty() {
            return Ok(());
        }
        let now = self.0.now();
        self.0.turn_now.set(now);
        let mark = self.0.timers.borrow().mark();
        let mut share = self.0.half_of_part();
        let looked = self.0.looked.get();
        if now.since(looked) > PUNCTUAL {
            self.make_calls(looked, mark, &mut share);
            if self.0.is_late(now) && !self.catch_up()? {
                return Ok(());
            }
        }
        self.make_calls(now, mark, &mut share);
        Ok(())
    }

    /// Makes the calls that are due at `now` and were scheduled before `mark`.
    fn make_calls(&self, now: Moment, mark: Mark, share: &mut Share) {
        while share.calls > 0 {
            let due = self.0.timers.borrow_mut().pop_due(now, mark);
            let Some((_, call)) = due else { break };
            let name = call.name();
            let _ = self.0.guard(CallbackKind::DelayedCall, name, || call.call(self));
            share.calls = if share.is_over(&self.0) { 0 } else { share.calls - 1 };
        }
    }

    /// Settles the sources that were changed outside their own callbacks.
    // Inlined, because each turn calls it. The other caller is the end of a run.
    #[inline(always)]
    pub(super) fn settle_all(&self) {
        if self.0.unsettled.borrow().is_empty() {
            return;
        }
        // A source leaves the queue before it is settled, so a source that panics is not settled again.
        while let Err(panic) = catch(|| self.settle_some()) {
            self.end_culprit(None, panic);
        }
    }

    fn settle_some(&self) {
        // Settling may call producers, which may write to other connections. Such connections settle in the next pass.
        for _ in 0..SETTLE_PASSES {
            let count = self.0.unsettled.borrow().len();
            if count == 0 {
                return;
            }
            // The sources are taken one by one: if a callback runs the loop, that inner loop settles the remaining
            // sources.
            for _ in 0..count {
                let next = self.0.unsettled.borrow_mut().pop_front();
                let Some(source) = next else { break };
                source.settle(self);
            }
        }
    }
}

/// Returns the shorter of two timeouts, of which `None` sets no limit.
pub(crate) fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Kernel {
    /// Returns whether events were collected and not yet dispatched.
    pub(super) fn has_events(&self) -> bool {
        !self.inbox.borrow().events.is_empty()
    }

    /// Returns an error if the provider is away, or belongs to the parent process.
    pub(crate) fn check_usable(&self) -> Result<()> {
        if self.is_forked() { Err(Error::Forked) } else { self.check_present() }
    }

    /// Continues after a few panics of the provider, because its next wait may succeed.
    #[cold]
    fn wait_failed(&self, error: io::Error) -> Result<()> {
        match Error::panic_within(&error) {
            Some(panicked) => self.count_panic(panicked),
            None => Err(Error::io("cannot wait for events")(error)),
        }
    }

    fn sleep_limit(&self) -> Option<Duration> {
        // The budget may have left events of this turn. If this loop runs in a callback, later events of the outer turn
        // may be queued as well.
        if self.has_events() {
            return Some(Duration::ZERO);
        }
        // Tasks run before settling, and settling may have woken a task.
        let has_calls = self.calls.are_waiting() || !self.batch.borrow().is_empty();
        let has_work =
            has_calls || !self.unsettled.borrow().is_empty() || self.attention.is_asked() || self.turns_again.get();
        if has_work {
            self.waited.set(self.turn_now.get().max(self.waited.get()));
            return Some(Duration::ZERO);
        }
        if self.timers.borrow().is_empty() {
            return None;
        }
        let deadline = self.timers.borrow_mut().next_deadline()?;
        let now = self.now();
        self.waited.set(now);
        Some(deadline - now)
    }
}
