//! IReactorCore: running, stopping, and the events at startup and shutdown.
//!
//! ```text
//!  idle -- run --> starting -- startup triggers --> running -- stop --> stopping -- shutdown triggers --> idle
//!                                                     +------------------- crash ----------------------> idle
//! ```
//!
//! An event has three phases. Triggers of `before` may return a Deferred. `during` starts when all these Deferreds have
//! fired. Until then the loop continues to serve connections and timers. Triggers of `during` run in order, and then
//! those of `after`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

use ropewalk_proto::panics::catch;
use ropewalk_proto::{Deferred, report};

use super::order;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Feature, Hooks, Kernel, Order, Reactor, drop_logged};

/// The stages of the diagram above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Starting,
    Running,
    ShuttingDown,
    /// The loop has ended, and the last triggers run.
    Ending,
}

/// The state of the present run.
#[derive(Clone, Copy, Default)]
struct RunState {
    stage: Stage,
    /// `true` from the `during` phase of `startup` to the `during` phase of `shutdown`.
    running: bool,
    /// `stop` was called. The next call of this feature's hook starts the shutdown.
    stop_requested: bool,
    /// The number of the run. An event that a Deferred delays continues only within its own run.
    number: u64,
}

/// The time at which a trigger runs, relative to its event.
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
    /// Before the event. The trigger can delay the event by returning a Deferred.
    Before,
    /// At the event.
    During,
    /// After the event.
    After,
}

/// The return value of a trigger: nothing, or a Deferred. The event waits for the Deferred of a `Before` trigger.
///
/// ```
/// use ropewalk::interfaces::core::TriggerResult;
///
/// assert!(().into_deferred().is_none()); // the event does not wait
/// assert!(ropewalk::succeed(()).into_deferred().is_some());
/// ```
pub trait TriggerResult {
    /// Returns the Deferred to wait for, if there is one.
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

/// Identifies a trigger, for [`Reactor::remove_system_event_trigger`].
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::TriggerId;
///
/// let reactor = Reactor::new()?;
/// let at_the_end: TriggerId = reactor.add_system_event_trigger(Phase::Before, "shutdown", |_| println!("bye"));
/// reactor.remove_system_event_trigger(&at_the_end)?; // "bye" is not printed
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerId {
    event: Rc<str>,
    phase: Phase,
    number: u64,
}

/// Options of [`Reactor::run_with`].
///
/// ```
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::RunOptions;
///
/// let net = MemoryReactor::new();
/// net.call_when_running(|reactor| reactor.stop().unwrap());
/// net.run_with(RunOptions::default().without_signal_handlers())?; // for a loop inside a library
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// Whether SIGINT, SIGTERM and similar signals stop the loop. The default is `true`.
    pub install_signal_handlers: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { install_signal_handlers: true }
    }
}

impl RunOptions {
    /// Leaves the signal handlers of the process unchanged.
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

/// An event that is being fired.
struct Firing {
    event: Rc<str>,
    /// The number of the run that the event starts or ends. `None` for a user-defined event.
    run: Option<u64>,
    /// The number of Deferreds of `before` triggers that have not fired, plus one while these triggers run.
    waiting: Cell<usize>,
}

/// The triggers that have not fired yet.
#[derive(Default)]
struct Triggers {
    waiting: HashMap<(Rc<str>, Phase), VecDeque<Trigger>>,
    next_number: u64,
}

impl Triggers {
    fn pop(&mut self, event: &Rc<str>, phase: Phase) -> Option<Trigger> {
        self.waiting.get_mut(&(event.clone(), phase))?.pop_front()
    }
}

impl Reactor {
    /// Runs the loop until [`stop`](Reactor::stop), [`crash`](Reactor::crash) or a signal stops it. The reactor can run
    /// again afterwards. A [guest](crate::hosting) runs the loop of its host. Its host may
    /// [refuse](crate::hosting::HostLoop::may_run), and this method returns without a run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new(); // an hour of virtual time
    /// net.call_later(Duration::from_secs(3600), |reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.seconds(), 3600.0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorAlreadyRunning`] when the reactor is running. [`Error::Hosted`] when the reactor is a guest, and
    /// its host's loop must be run instead. [`Error::Io`] when the operating system cannot wait. [`Error::Panicked`] when
    /// a callback panicked and [`PanicPolicy::Stop`](crate::PanicPolicy::Stop) is set, or when the event provider panics in
    /// three waits in a row.
    pub fn run(&self) -> Result<()> {
        self.run_with(RunOptions::default())
    }

    /// Runs the loop like [`run`](Reactor::run), with options.
    ///
    /// # Errors
    /// The errors of [`run`](Reactor::run).
    pub fn run_with(&self, options: RunOptions) -> Result<()> {
        let _entered = self.enter();
        let hosted = self.0.hosted();
        if let Some(hosted) = &hosted {
            if self.feature::<Run>().state.get().stage != Stage::Idle {
                return Err(Error::ReactorAlreadyRunning);
            }
            if !hosted.may_run()? {
                return Ok(());
            }
        }
        self.start_running(options)?;
        let outcome = hosted.map_or_else(|| self.main_loop(), |hosted| hosted.run(self));
        self.finish_run(outcome)
    }

    /// Does the last steps of a run whose turns are over, and returns its outcome.
    pub(crate) fn finish_run(&self, outcome: Result<()>) -> Result<()> {
        if outcome.is_err() {
            self.crash();
        }
        self.feature::<Signals>().uninstall();
        self.resume_panic();
        outcome.and(self.0.take_panic().map_or(Ok(()), Err))
    }

    /// Starts a run for a host loop: fires `startup`, and returns.
    ///
    /// The host then makes turns while [`is_started`](Reactor::is_started) returns true. The host must check again
    /// after [`prepare`](Reactor::prepare), because a run ends there. After the end of a run, a wait without a limit
    /// would never return.
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
    ///         break; // the run ended in `prepare`
    ///     }
    ///     reactor.wait(timeout)?;
    ///     reactor.dispatch();
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorAlreadyRunning`] when the reactor is running. [`Error::Io`] when signal handlers cannot be
    /// installed.
    pub fn start_running(&self, options: RunOptions) -> Result<()> {
        if self.feature::<Run>().state.get().stage != Stage::Idle {
            return Err(Error::ReactorAlreadyRunning);
        }
        self.0.reopen_if_forked()?;
        if options.install_signal_handlers && self.provides(crate::Interface::Signals) {
            self.feature::<Signals>().install()?;
        }
        // A panic from an earlier turn outside a run must not fail the new run.
        self.0.take_panic();
        let run = self.feature::<Run>();
        let number = run.state.get().number + 1;
        run.state.set(RunState { stage: Stage::Starting, number, ..RunState::default() });
        self.fire("startup");
        // The host loop begins to make turns.
        self.0.work_changed();
        Ok(())
    }

    /// Makes turns until the run ends.
    pub(crate) fn main_loop(&self) -> Result<()> {
        let run = self.feature::<Run>();
        loop {
            match catch(|| self.turns(&run)) {
                Ok(outcome) => return outcome,
                Err(panic) => self.turn_panicked(panic)?,
            }
        }
    }

    fn turns(&self, run: &Run) -> Result<()> {
        while run.is_started() {
            let timeout = self.prepare()?;
            if !run.is_started() {
                break;
            }
            self.wait(timeout)?;
            self.dispatch();
        }
        Ok(())
    }

    /// Stops the loop after the current turn: the `shutdown` event fires, connections are lost and ports closed.
    ///
    /// ```
    /// use ropewalk::{Error, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
    /// reactor.call_when_running(|reactor| {
    ///     reactor.stop().expect("a running reactor");
    ///     assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning))); // already stopping
    /// });
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReactorNotRunning`] when the reactor is not running, or is already stopping.
    pub fn stop(&self) -> Result<()> {
        if self.feature::<Run>().request_stop(&self.0) { Ok(()) } else { Err(Error::ReactorNotRunning) }
    }

    /// Leaves the loop after the current turn, without firing an event. Connections and timers are kept, and continue
    /// with the next `run`.
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
            self.feature::<Run>().end(&self.0, Stage::Idle);
            self.feature::<Signals>().uninstall();
        }
    }

    /// Returns whether the loop is running: from the `during` phase of startup to the `during` phase of shutdown.
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
        self.feature::<Run>().state.get().running
    }

    /// Returns whether a host loop should make turns: from the start of `run` until the end of the shutdown.
    pub fn is_started(&self) -> bool {
        self.feature::<Run>().is_started()
    }

    /// Returns whether no run is in progress, not even the last triggers of one.
    pub(crate) fn has_ended(&self) -> bool {
        self.feature::<Run>().state.get().stage == Stage::Idle
    }

    /// Calls `call` at once if the reactor is running. Otherwise adds a trigger that calls it after the startup, and
    /// returns the trigger's id.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let trigger = reactor.call_when_running(|_| unreachable!("removed"));
    /// reactor.remove_system_event_trigger(&trigger.expect("a trigger, before the run"))?;
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_when_running(&self, call: impl FnOnce(&Reactor) + 'static) -> Option<TriggerId> {
        if self.running() {
            let _entered = self.0.enter();
            call(self);
            return None;
        }
        Some(self.add_system_event_trigger(Phase::After, "startup", call))
    }

    /// Adds a trigger that runs once with the next `event`: `startup` and `shutdown`, which each run of the reactor fires,
    /// or any other name, which [`fire_system_event`](Reactor::fire_system_event) fires.
    ///
    /// May be called while that event is being fired.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
    ///     reactor.defer_later(Duration::from_secs(2), |_| println!("saved")) // delays the shutdown
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
        let run = self.feature::<Run>();
        let mut triggers = run.triggers.borrow_mut();
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
    /// let trigger = reactor.add_system_event_trigger(Phase::After, "shutdown", |_| println!("never printed"));
    /// reactor.remove_system_event_trigger(&trigger)?;
    /// assert!(matches!(reactor.remove_system_event_trigger(&trigger), Err(Error::NoSuchTrigger)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTrigger`] when the trigger has fired or was removed.
    pub fn remove_system_event_trigger(&self, id: &TriggerId) -> Result<()> {
        let run = self.feature::<Run>();
        let mut triggers = run.triggers.borrow_mut();
        let waiting = triggers.waiting.get_mut(&(id.event.clone(), id.phase)).ok_or(Error::NoSuchTrigger)?;
        let place = waiting.iter().position(|trigger| trigger.number == id.number).ok_or(Error::NoSuchTrigger)?;
        let removed = waiting.remove(place);
        drop(triggers);
        drop(removed);
        Ok(())
    }

    /// Returns whether `event` has triggers.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.add_system_event_trigger(Phase::During, "reload", |_| ());
    /// assert!(reactor.has_system_event_trigger("reload") && !reactor.has_system_event_trigger("shutdown"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn has_system_event_trigger(&self, event: &str) -> bool {
        let run = self.feature::<Run>();
        let triggers = run.triggers.borrow();
        triggers.waiting.iter().any(|((name, _), waiting)| &**name == event && !waiting.is_empty())
    }

    /// Fires an event: runs its triggers, and removes them. An event without triggers has no effect.
    ///
    /// If a `Before` trigger returns a Deferred, the later phases run when the Deferred fires. This may happen after
    /// the method has returned.
    ///
    /// `startup` and `shutdown` belong to the runs of the reactor. `shutdown` stops a running reactor like
    /// [`stop`](Reactor::stop), so the triggers run at the end of this turn. At any other time either name is logged and
    /// has no effect, and the triggers are kept.
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
    /// reactor.fire_system_event("reload"); // no trigger is left
    /// assert_eq!(reloads.get(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn fire_system_event(&self, event: &str) {
        match event {
            "shutdown" if self.stop().is_ok() => {}
            "startup" | "shutdown" => tracing::warn!(event, "only a run of the reactor fires this event"),
            _ => self.fire(event),
        }
    }

    fn fire(&self, event: &str) {
        let run = self.feature::<Run>();
        let firing = Rc::new(Firing { event: event.into(), run: run.own_event(event), waiting: Cell::new(1) });
        loop {
            let trigger = run.triggers.borrow_mut().pop(&firing.event, Phase::Before);
            let Some(trigger) = trigger else { break };
            let outcome = self.0.guard(CallbackKind::Trigger, trigger.name, || (trigger.action)(self));
            let Ok(Some(deferred)) = outcome else { continue };
            firing.waiting.set(firing.waiting.get() + 1);
            let (reactor, firing) = (self.downgrade(), firing.clone());
            let name = trigger.name;
            deferred.add_both(move |outcome| {
                if let Err(failure) = outcome {
                    report!(
                        ERROR,
                        trigger = name,
                        failure = failure,
                        "a trigger before the event '{}' failed",
                        firing.event
                    );
                }
                if let Some(reactor) = reactor.upgrade() {
                    reactor.one_trigger_less(&firing);
                }
            });
        }
        self.one_trigger_less(&firing);
    }

    fn one_trigger_less(&self, firing: &Firing) {
        let run = self.feature::<Run>();
        firing.waiting.set(firing.waiting.get() - 1);
        // If a delayed start only completes after a stop, its later phases do not run: the triggers wait for the next
        // run.
        if firing.waiting.get() > 0 || firing.run != run.own_event(&firing.event) {
            return;
        }
        if firing.run.is_some() {
            self.happen(&firing.event);
        }
        for phase in [Phase::During, Phase::After] {
            loop {
                let trigger = run.triggers.borrow_mut().pop(&firing.event, phase);
                let Some(trigger) = trigger else { break };
                // Only Deferreds of `before` triggers are waited for.
                let _ = self.0.guard(CallbackKind::Trigger, trigger.name, || (trigger.action)(self));
            }
        }
        if firing.run.is_some() {
            run.finish();
        }
        self.0.work_changed();
        if firing.run.is_some() && !self.is_started() {
            // The handlers stay until the last trigger has run: a second signal during the shutdown must not kill the
            // process.
            self.feature::<Signals>().uninstall();
        }
    }

    /// Changes the state of the run at one of the reactor's own events, before the user's `during` triggers.
    fn happen(&self, event: &str) {
        let run = self.feature::<Run>();
        if event == "startup" {
            run.state.set(RunState { stage: Stage::Running, running: true, ..run.state.get() });
            self.start_features();
        } else {
            run.end(&self.0, Stage::Ending);
            self.shut_down_sources();
            self.end_features();
        }
    }
}

/// The runs of one reactor, and the triggers of its events.
pub(crate) struct Run {
    state: Cell<RunState>,
    triggers: RefCell<Triggers>,
}

impl Feature for Run {
    fn new(_reactor: &Reactor) -> Run {
        Run { state: Cell::default(), triggers: RefCell::default() }
    }

    fn hooks(self: &Rc<Run>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::STOP, self.clone()))
    }
}

impl Hooks for Run {
    /// Fires `shutdown` when `stop` was called.
    fn turn(&self, reactor: &Reactor) {
        let state = self.state.get();
        if state.stop_requested {
            self.state.set(RunState { stage: Stage::ShuttingDown, stop_requested: false, ..state });
            reactor.0.set_last_turn(false);
            reactor.fire("shutdown");
        }
    }

    fn stop_requested(&self, kernel: &Kernel) {
        self.request_stop(kernel);
    }

    fn crash_requested(&self, kernel: &Kernel) {
        if self.is_started() {
            self.end(kernel, Stage::Idle);
        }
    }

    fn forget(&self) {
        let waiting = std::mem::take(&mut self.triggers.borrow_mut().waiting);
        for trigger in waiting.into_values().flatten() {
            drop_logged(trigger.name, trigger.action);
        }
    }
}

impl Run {
    fn is_started(&self) -> bool {
        !matches!(self.state.get().stage, Stage::Idle | Stage::Ending)
    }

    /// Allows the next run, after the last trigger of this one.
    fn finish(&self) {
        let state = self.state.get();
        if state.stage == Stage::Ending {
            self.state.set(RunState { stage: Stage::Idle, ..state });
            tracing::info!("the loop has ended");
        }
    }

    /// Requests a shutdown. Returns false if the reactor does not run or is already stopping.
    pub(crate) fn request_stop(&self, kernel: &Kernel) -> bool {
        let state = self.state.get();
        let may_stop = matches!(state.stage, Stage::Starting | Stage::Running) && !state.stop_requested;
        if may_stop {
            self.state.set(RunState { stop_requested: true, ..state });
            kernel.set_last_turn(true);
            kernel.attention().ask();
            kernel.work_changed();
        }
        may_stop
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.state.get().stage == Stage::ShuttingDown
    }

    fn end(&self, kernel: &Kernel, stage: Stage) {
        kernel.set_last_turn(false);
        let number = self.state.get().number;
        self.state.set(RunState { stage, number, ..RunState::default() });
        if stage == Stage::Idle {
            tracing::info!("the loop has ended without a shutdown");
        }
        // A host loop that does not notice the end would otherwise wait without a limit.
        kernel.turn_again();
        kernel.work_changed();
    }

    /// Returns the number of the present run if `event` is the reactor's own event of this stage.
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
