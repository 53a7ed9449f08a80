//! IReactorCore: running, stopping, and what happens before and after.
//!
//! ```text
//!  idle -- run --> starting -- startup triggers --> running -- stop --> stopping -- shutdown triggers --> idle
//!                                                     +------------------- crash ----------------------> idle
//! ```
//!
//! An event has three phases. Triggers of `before` may return a Deferred; `during` begins when all of them have fired,
//! and the loop keeps serving connections and timers until then. Triggers of `during`, then of `after`, run in order.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

use ropewalk_proto::Deferred;

use crate::error::{Error, Result};
use crate::kernel::{Kernel, Reactor, Source, enter, guard};

/// How far a reactor is; see the module's picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Starting,
    Running,
    ShuttingDown,
}

/// The state of the present run.
#[derive(Clone, Copy, Default)]
pub(crate) struct RunState {
    stage: Stage,
    /// From `during startup` to `during shutdown`.
    running: bool,
    /// `stop` was called; shutdown begins with this turn's end.
    stop_requested: bool,
    /// Counts runs, so that an event which waits does not go on in a later one.
    number: u64,
}

/// When a trigger runs, relative to its event.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// let order = Rc::new(RefCell::new(Vec::new()));
/// for phase in [Phase::After, Phase::Before, Phase::During] {
///     let order = order.clone();
///     net.add_system_event_trigger(phase, "closing time", move |_| order.borrow_mut().push(phase));
/// }
/// net.fire_system_event("closing time");
/// assert_eq!(*order.borrow(), [Phase::Before, Phase::During, Phase::After]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// First; may delay the event by returning a Deferred.
    Before,
    /// With the event.
    During,
    /// Last.
    After,
}

/// What a trigger returns: nothing, or a Deferred that a `Before` trigger is waited for with.
///
/// ```
/// use ropewalk::interfaces::core::TriggerResult;
///
/// assert!(().into_deferred().is_none()); // a trigger that nobody waits for
/// assert!(ropewalk::succeed(()).into_deferred().is_some());
/// ```
pub trait TriggerResult {
    /// What to wait for.
    fn into_deferred(self) -> Option<Deferred<()>>;
}

impl TriggerResult for () {
    fn into_deferred(self) -> Option<Deferred<()>> {
        None
    }
}

impl TriggerResult for Deferred<()> {
    fn into_deferred(self) -> Option<Deferred<()>> {
        Some(self)
    }
}

/// Names a trigger, to remove it.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::TriggerId;
///
/// let reactor = Reactor::new()?;
/// let at_the_end: TriggerId = reactor.add_system_event_trigger(Phase::Before, "shutdown", |_| println!("bye"));
/// reactor.remove_system_event_trigger(&at_the_end)?; // on second thoughts
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerId {
    event: Rc<str>,
    phase: Phase,
    number: u64,
}

/// How `run` behaves.
///
/// ```
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::RunOptions;
///
/// let net = MemoryReactor::new();
/// net.call_when_running(|reactor| reactor.stop().unwrap());
/// net.run_with(RunOptions::default().without_signal_handlers())?; // a library's loop leaves SIGINT alone
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// Whether SIGINT, SIGTERM and their like stop the loop; `true` at first.
    pub install_signal_handlers: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { install_signal_handlers: true }
    }
}

impl RunOptions {
    /// Leaves the process's signals alone.
    #[must_use]
    pub fn without_signal_handlers(mut self) -> Self {
        self.install_signal_handlers = false;
        self
    }
}

type Action = Box<dyn FnOnce(&Reactor) -> Option<Deferred<()>>>;

struct Trigger {
    number: u64,
    name: &'static str,
    action: Action,
}

/// An event that fires.
struct Firing {
    event: Rc<str>,
    /// The run whose start or end it is, if it is that.
    run: Option<u64>,
    /// For how many `before` triggers it waits, and one while they are being run.
    waiting: Cell<usize>,
}

/// The triggers that have not fired.
#[derive(Default)]
pub(crate) struct Triggers {
    waiting: HashMap<(Rc<str>, Phase), VecDeque<Trigger>>,
    next_number: u64,
}

impl Triggers {
    fn pop(&mut self, event: &Rc<str>, phase: Phase) -> Option<Trigger> {
        self.waiting.get_mut(&(event.clone(), phase))?.pop_front()
    }
}

impl Reactor {
    /// Runs the loop until [`stop`](Reactor::stop), [`crash`](Reactor::crash) or a signal ends it. Afterwards the reactor
    /// can run again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new(); // an hour takes no time here
    /// net.call_later(Duration::from_secs(3600), |reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.seconds(), 3600.0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorAlreadyRunning`]; [`Error::Io`] when the operating system cannot wait; [`Error::Panicked`] when a
    /// callback panicked and [`PanicPolicy::Stop`](crate::PanicPolicy::Stop) was chosen.
    pub fn run(&self) -> Result<()> {
        self.run_with(RunOptions::default())
    }

    /// As [`run`](Reactor::run), with options.
    ///
    /// # Errors
    /// As [`run`](Reactor::run).
    pub fn run_with(&self, options: RunOptions) -> Result<()> {
        let _current = enter(self);
        self.start_running(options)?;
        let outcome = self.main_loop();
        if outcome.is_err() {
            self.crash();
        }
        outcome.and(self.0.take_panic().map_or(Ok(()), Err))
    }

    /// First part of [`run`](Reactor::run), for a host loop: fires `startup`, and returns. The host then makes turns
    /// while [`is_started`](Reactor::is_started). It asks that again after [`prepare`](Reactor::prepare), in which a run
    /// ends: a wait without a limit that followed would have nothing left to wait for.
    ///
    /// ```
    /// use ropewalk::{Reactor, RunOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// loop {
    ///     let timeout = reactor.prepare()?;
    ///     if !reactor.is_started() {
    ///         break; // `prepare` is where the run ends
    ///     }
    ///     reactor.wait(timeout)?;
    ///     reactor.dispatch();
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorAlreadyRunning`]; [`Error::Io`] when signal handlers cannot be installed.
    pub fn start_running(&self, options: RunOptions) -> Result<()> {
        if self.is_started() {
            return Err(Error::ReactorAlreadyRunning);
        }
        self.0.reopen_if_forked()?;
        if options.install_signal_handlers && self.provides(crate::Interface::Signals) {
            self.0.signals.install()?;
        }
        // One from turns outside a run is not this run's.
        self.0.take_panic();
        let number = self.0.state.get().number + 1;
        self.0.state.set(RunState { stage: Stage::Starting, number, ..RunState::default() });
        self.fire_system_event("startup");
        Ok(())
    }

    fn main_loop(&self) -> Result<()> {
        while self.is_started() {
            let timeout = self.prepare()?;
            if !self.is_started() {
                break;
            }
            self.wait(timeout)?;
            self.dispatch();
        }
        Ok(())
    }

    /// Ends the loop in order: this turn ends, the `shutdown` event fires, connections are lost and ports closed.
    ///
    /// ```
    /// use ropewalk::{Error, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
    /// reactor.call_when_running(|reactor| {
    ///     reactor.stop().expect("it runs");
    ///     assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning))); // it is stopping already
    /// });
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorNotRunning`] when it does not run or is stopping already.
    pub fn stop(&self) -> Result<()> {
        if self.0.request_stop() { Ok(()) } else { Err(Error::ReactorNotRunning) }
    }

    /// Leaves the loop after the present callback's turn, without any event; connections and timers stay as they are and
    /// go on with the next `run`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// net.call_later(Duration::from_secs(1), |reactor| reactor.crash());
    /// net.run()?;
    /// assert!(port.is_listening()); // `stop` would have closed it
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn crash(&self) {
        if self.is_started() {
            self.0.end_run();
            self.0.signals.uninstall();
        }
    }

    /// Whether the loop runs: from the `during` phase of startup to the `during` phase of shutdown.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.call_when_running(|reactor| {
    ///     assert!(reactor.running() && reactor.is_started());
    ///     reactor.stop().unwrap();
    /// });
    /// reactor.run()?;
    /// assert!(!reactor.running() && !reactor.is_started());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn running(&self) -> bool {
        self.0.state.get().running
    }

    /// Whether turns should be made: from the beginning of `run` until the end of shutdown.
    pub fn is_started(&self) -> bool {
        self.0.state.get().stage != Stage::Idle
    }

    /// Calls `call` at once if the reactor runs, or else when it has started: then the trigger that will do so is
    /// returned.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let trigger = reactor.call_when_running(|_| unreachable!("it was removed"));
    /// reactor.remove_system_event_trigger(&trigger.expect("it does not run yet"))?;
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_when_running(&self, call: impl FnOnce(&Reactor) + 'static) -> Option<TriggerId> {
        if self.running() {
            call(self);
            return None;
        }
        Some(self.add_system_event_trigger(Phase::After, "startup", call))
    }

    /// Has `trigger` run once with the next `event`: `startup`, `shutdown`, or any name that
    /// [`fire_system_event`](Reactor::fire_system_event) fires.
    ///
    /// May be called while that event fires.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
    ///     reactor.defer_later(Duration::from_secs(2), |_| println!("saved")) // the shutdown waits for it
    /// });
    /// net.call_when_running(|reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.seconds(), 2.0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn add_system_event_trigger<R: TriggerResult>(
        &self,
        phase: Phase,
        event: &str,
        trigger: impl FnOnce(&Reactor) -> R + 'static,
    ) -> TriggerId {
        let name = std::any::type_name_of_val(&trigger);
        let mut triggers = self.0.triggers.borrow_mut();
        triggers.next_number += 1;
        let id = TriggerId { event: event.into(), phase, number: triggers.next_number };
        let action: Action = Box::new(move |reactor| trigger(reactor).into_deferred());
        let trigger = Trigger { number: id.number, name, action };
        triggers.waiting.entry((id.event.clone(), phase)).or_default().push_back(trigger);
        id
    }

    /// Removes a trigger that has not fired.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// let reactor = Reactor::new()?;
    /// let trigger = reactor.add_system_event_trigger(Phase::After, "shutdown", |_| println!("never said"));
    /// reactor.remove_system_event_trigger(&trigger)?;
    /// assert!(matches!(reactor.remove_system_event_trigger(&trigger), Err(Error::NoSuchTrigger)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTrigger`] when it has fired or was removed before.
    pub fn remove_system_event_trigger(&self, id: &TriggerId) -> Result<()> {
        let mut triggers = self.0.triggers.borrow_mut();
        let waiting = triggers.waiting.get_mut(&(id.event.clone(), id.phase)).ok_or(Error::NoSuchTrigger)?;
        let place = waiting.iter().position(|trigger| trigger.number == id.number).ok_or(Error::NoSuchTrigger)?;
        let removed = waiting.remove(place);
        drop(triggers);
        drop(removed);
        Ok(())
    }

    /// Fires an event: its triggers run, and are forgotten. An event without triggers is nothing.
    ///
    /// When a `Before` trigger returned a Deferred, the later phases run when that has fired, after this returned.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use ropewalk::prelude::*;
    ///
    /// let reactor = Reactor::new()?;
    /// let reloads = Rc::new(Cell::new(0));
    /// let count = reloads.clone();
    /// reactor.add_system_event_trigger(Phase::During, "reload", move |_| count.set(count.get() + 1));
    /// reactor.fire_system_event("reload");
    /// reactor.fire_system_event("reload"); // the trigger has had its turn
    /// assert_eq!(reloads.get(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn fire_system_event(&self, event: &str) {
        let firing = Rc::new(Firing { event: event.into(), run: self.0.own_event(event), waiting: Cell::new(1) });
        loop {
            let trigger = self.0.triggers.borrow_mut().pop(&firing.event, Phase::Before);
            let Some(trigger) = trigger else { break };
            let Ok(Some(deferred)) = guard(&self.0, trigger.name, || (trigger.action)(self)) else { continue };
            firing.waiting.set(firing.waiting.get() + 1);
            let (reactor, firing) = (self.downgrade(), firing.clone());
            let name = trigger.name;
            deferred.add_both(move |outcome| {
                if let Err(failure) = outcome {
                    tracing::error!(trigger = name, %failure, "a trigger before {} failed", firing.event);
                }
                if let Some(kernel) = reactor.upgrade() {
                    Reactor(kernel).one_trigger_less(&firing);
                }
            });
        }
        self.one_trigger_less(&firing);
    }

    fn one_trigger_less(&self, firing: &Firing) {
        firing.waiting.set(firing.waiting.get() - 1);
        // A start that was held up until after the stop never comes: what waited for it waits for the next.
        if firing.waiting.get() > 0 || firing.run != self.0.own_event(&firing.event) {
            return;
        }
        if firing.run.is_some() {
            self.happen(&firing.event);
        }
        for phase in [Phase::During, Phase::After] {
            loop {
                let trigger = self.0.triggers.borrow_mut().pop(&firing.event, phase);
                let Some(trigger) = trigger else { break };
                // Only `before` is waited for.
                let _ = guard(&self.0, trigger.name, || (trigger.action)(self));
            }
        }
        self.0.work_changed();
        if firing.run.is_some() && !self.is_started() {
            // After the last trigger: a second signal during shutdown must not kill the process in the middle of it.
            self.0.signals.uninstall();
        }
    }

    /// The reactor's own part in its own events, ahead of the user's `during` triggers.
    fn happen(&self, event: &str) {
        if event == "startup" {
            let state = self.0.state.get();
            self.0.state.set(RunState { stage: Stage::Running, running: true, ..state });
            self.0.pool.start();
        } else {
            self.0.end_run();
            self.disconnect_all();
            self.0.pool.stop();
        }
    }

    /// Fires `shutdown` when `stop` was called.
    pub(crate) fn shut_down_if_asked(&self) {
        let state = self.0.state.get();
        if state.stop_requested {
            self.0.state.set(RunState { stage: Stage::ShuttingDown, stop_requested: false, ..state });
            self.fire_system_event("shutdown");
        }
    }

    /// Ends every source: connections are told [`Error::ConnectionLost`].
    fn disconnect_all(&self) {
        let keys: Vec<_> = self.0.sources.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            // The end of one may have ended others, and begun new ones: a connector races with several keys.
            let source = self.0.sources.borrow().get(key).cloned();
            match source {
                Some(Source::Stream(stream)) => stream.end(&self.0, Error::ConnectionLost(None)),
                Some(Source::Port(port)) => port.close(self),
                Some(Source::Attempt(connector)) => connector.fail(Error::UserAborted),
                Some(Source::Watch(watch)) => watch.lose(self, &Error::ConnectionLost(None)),
                None => {}
            }
        }
        self.0.end_lingerers();
    }
}

impl Kernel {
    /// Has `shutdown` fire at the end of the turn. Returns whether the reactor runs and was not stopping already.
    pub(crate) fn request_stop(&self) -> bool {
        let state = self.state.get();
        let may_stop = matches!(state.stage, Stage::Starting | Stage::Running) && !state.stop_requested;
        if may_stop {
            self.state.set(RunState { stop_requested: true, ..state });
            self.work_changed();
        }
        may_stop
    }

    pub(crate) fn has_pending_stop(&self) -> bool {
        self.state.get().stop_requested
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.state.get().stage == Stage::ShuttingDown
    }

    fn end_run(&self) {
        let number = self.state.get().number;
        self.state.set(RunState { number, ..RunState::default() });
        self.work_changed();
    }

    /// The run that `event` is a part of at this stage, if it is the reactor's own.
    fn own_event(&self, event: &str) -> Option<u64> {
        let state = self.state.get();
        let own = match event {
            "startup" => state.stage == Stage::Starting,
            "shutdown" => state.stage == Stage::ShuttingDown,
            _ => false,
        };
        own.then_some(state.number)
    }
}
