//! One process of a monitor.
//!
//! ```text
//!             start                     exit                      group empty, pipes closed
//!   stopped ----------> running ---------------> ending --------------------------------------.
//!      ^                 ^   | stop, restart,       ^                                          |
//!      |                 |   | not ready in time    |                                          v
//!      |                 |   '----------------------'                                          |
//!      |   start at once |                                        stop     restart   quick end, or no start
//!      |                 '---------------------------------------- | --------'                 |
//!      '-----------------------------------------------------------'                           v
//!                        ^                                               choosing a delay, then waiting, or finished
//!                        '--------------------------------------------------------------- delay
//! ```
//!
//! The policy that chooses the delay is user code. A stop or restart that it asks for takes effect when it returns.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Cancelled, Deferred, Moment, Resolver, succeed};
use ropewalk_sys::ExitStatus;
use ropewalk_sys::signals::Signal;

use super::lines::OutputLine;
use super::report::{ProcessReport, ProcessState};
use super::settings::{MonitoredProcess, Readiness};
use super::supervised::Supervised;
use super::{Monitor, probe};
use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Reactor};
use crate::processes::Process;
use crate::protocols::RetryPolicy;

/// The time that is given to pipes which other programs hold after the group of the process has ended.
const PIPE_PATIENCE: Duration = Duration::from_millis(250);

/// The delay before the next start if the policy panicked.
const FALLBACK_DELAY: Duration = Duration::from_secs(60);

pub(super) struct Member {
    name: String,
    settings: MonitoredProcess,
    /// Separate from the settings, because choosing a delay changes the policy.
    policy: RefCell<Box<dyn RetryPolicy>>,
    monitor: Weak<Monitor>,
    state: RefCell<State>,
    /// The number of quick exits and failed starts in a row.
    failures: Cell<u32>,
    starts: Cell<u64>,
    status: Cell<Option<ExitStatus>>,
    error: RefCell<Option<Error>>,
    waiting_for_ready: RefCell<Vec<Resolver<()>>>,
    waiting_for_stop: RefCell<Vec<Resolver<()>>>,
}

/// The states of the diagram above.
enum State {
    Stopped,
    Running(Run),
    Ending {
        process: Process,
        next: Next,
    },
    /// The policy is running.
    Choosing {
        next: Next,
    },
    Waiting(DelayedCall),
    Finished,
}

struct Run {
    process: Process,
    since: Moment,
    is_ready: bool,
    probe: Option<CancelHandle>,
    /// The end of the time in which the process must become ready.
    timeout: Option<DelayedCall>,
}

/// The step after the end of a process.
#[derive(Clone, Copy)]
enum Next {
    Stop,
    Start,
    /// The process has ended by itself, after this time, or has not become ready.
    AsPolicySays(Duration),
}

impl Next {
    /// Returns the step after a later request. A stop is withdrawn only by a start.
    fn or(self, later: Next) -> Next {
        if matches!(self, Next::Stop) { self } else { later }
    }
}

impl Member {
    pub(super) fn new(name: String, mut settings: MonitoredProcess, monitor: &Rc<Monitor>) -> Rc<Member> {
        let policy = std::mem::replace(&mut settings.policy, Box::new(|_| Duration::ZERO));
        Rc::new(Member {
            name,
            settings,
            policy: RefCell::new(policy),
            monitor: Rc::downgrade(monitor),
            state: RefCell::new(State::Stopped),
            failures: Cell::default(),
            starts: Cell::default(),
            status: Cell::default(),
            error: RefCell::default(),
            waiting_for_ready: RefCell::default(),
            waiting_for_stop: RefCell::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn line_length(&self) -> usize {
        self.settings.line_length
    }

    /// Starts the process. The Deferred fires when the process is ready, or has finished before.
    pub(super) fn start(self: &Rc<Member>) -> Deferred<()> {
        let is_down = match &mut *self.state.borrow_mut() {
            State::Ending { next, .. } | State::Choosing { next } => {
                *next = Next::Start;
                false
            }
            state => matches!(state, State::Stopped | State::Finished),
        };
        if is_down {
            self.failures.set(0);
            self.launch();
        }
        self.when_ready()
    }

    /// Stops the process. The Deferred fires when the process and its group have ended.
    pub(super) fn stop(self: &Rc<Member>) -> Deferred<()> {
        self.fail_waiting();
        self.end_run(Next::Stop);
        let is_ending = matches!(*self.state.borrow(), State::Ending { .. });
        if !is_ending {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.waiting_for_stop.borrow_mut().push(resolver);
        deferred
    }

    /// Stops the process for good. Those that wait for it to be ready wait no longer.
    pub(super) fn remove(self: &Rc<Member>) -> Deferred<()> {
        self.fire_ready();
        self.stop()
    }

    /// Cancels a start that is to follow. A process that runs continues to run.
    pub(super) fn forgo_restart(self: &Rc<Member>) {
        let is_running = matches!(*self.state.borrow(), State::Running(_));
        self.fail_waiting();
        if !is_running {
            self.end_run(Next::Stop);
        }
    }

    /// Stops the process and starts it again. A delay is cut short.
    pub(super) fn restart(self: &Rc<Member>) {
        self.failures.set(0);
        self.end_run(Next::Start);
    }

    /// Sends KILL to the group. It fails if the group is empty.
    pub(super) fn kill(&self) {
        if let Some(process) = self.process() {
            let _ = process.signal_group(Signal::KILL);
        }
    }

    pub(super) fn pause(&self, is_paused: bool) {
        if let Some(process) = self.process() {
            if is_paused { process.pause_producing() } else { process.resume_producing() }
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(*self.state.borrow(), State::Finished)
    }

    pub(super) fn report(&self) -> ProcessReport {
        let state = match &*self.state.borrow() {
            State::Stopped => ProcessState::Stopped,
            State::Running(Run { is_ready: false, .. }) => ProcessState::Starting,
            State::Running(_) => ProcessState::Ready,
            State::Ending { .. } => ProcessState::Ending,
            State::Choosing { .. } | State::Waiting(_) => ProcessState::Waiting,
            State::Finished => ProcessState::Finished,
        };
        ProcessReport {
            name: self.name.clone(),
            state,
            pid: self.process().filter(|process| process.status().is_none()).map(|process| process.pid()),
            status: self.status.get(),
            error: self.error.borrow().clone(),
            restarts: self.starts.get().saturating_sub(1),
        }
    }

    fn process(&self) -> Option<Process> {
        match &*self.state.borrow() {
            State::Running(run) => Some(run.process.clone()),
            State::Ending { process, .. } => Some(process.clone()),
            _ => None,
        }
    }

    fn reactor(&self) -> Option<Reactor> {
        self.monitor.upgrade()?.reactor()
    }

    fn set(&self, state: State) {
        // Dropping a state may run destructors of user code.
        let before = self.state.replace(state);
        drop(before);
    }

    fn launch(self: &Rc<Member>) {
        let Some(reactor) = self.reactor() else { return };
        self.starts.set(self.starts.get() + 1);
        match reactor.spawn_process(&self.settings.command, Supervised::new(self)) {
            Ok(process) => self.launched(&reactor, process),
            Err(error) => {
                tracing::error!(process = self.name, %error, "cannot start the process");
                self.error.replace(Some(error));
                self.decide(false, Duration::ZERO);
            }
        }
    }

    fn launched(self: &Rc<Member>, reactor: &Reactor, process: Process) {
        tracing::info!(process = self.name, pid = process.pid(), "started");
        self.error.take();
        if self.monitor.upgrade().is_some_and(|monitor| monitor.is_paused()) {
            process.pause_producing();
        }
        let is_ready = matches!(self.settings.readiness, Readiness::Started);
        let timeout = self.settings.ready_timeout.filter(|_| !is_ready).map(|limit| {
            let (member, process) = (self.clone(), process.clone());
            reactor.call_later(limit, move |_| member.not_ready(&process, limit))
        });
        self.set(State::Running(Run {
            process: process.clone(),
            since: reactor.now(),
            is_ready,
            probe: None,
            timeout,
        }));
        if let Readiness::Endpoint(endpoint) = &self.settings.readiness {
            let member = self.clone();
            let accepted = probe::until_accepted(reactor, endpoint.clone());
            let handle = accepted.cancel_handle();
            accepted.add_callbacks(move |()| member.ready(&process), |_| ());
            if let State::Running(run) = &mut *self.state.borrow_mut() {
                run.probe = Some(handle);
            }
        }
    }

    pub(super) fn line_received(&self, process: &Process, fd: u32, text: &[u8], is_cut: bool) {
        if let Some(monitor) = self.monitor.upgrade() {
            monitor.line_received(&OutputLine { process: &self.name, fd, text, is_cut });
        }
        if let Readiness::Line(sign) = &self.settings.readiness {
            if contains(text, sign) {
                self.ready(process);
            }
        }
    }

    fn ready(&self, process: &Process) {
        match &mut *self.state.borrow_mut() {
            State::Running(run) if run.process == *process && !run.is_ready => {
                run.is_ready = true;
                run.timeout.take().iter().for_each(|timeout| drop(timeout.cancel()));
            }
            _ => return,
        }
        tracing::info!(process = self.name, "ready");
        self.fire_ready();
    }

    /// Stops a process whose time to become ready has passed. It counts as a failed start.
    fn not_ready(self: &Rc<Member>, process: &Process, limit: Duration) {
        let is_late = match &*self.state.borrow() {
            State::Running(run) => run.process == *process && !run.is_ready,
            _ => false,
        };
        if is_late {
            let message = format!("it was not ready within {} seconds", limit.as_secs_f64());
            tracing::error!(process = self.name, pid = process.pid(), "{message}: stopping it");
            self.error.replace(Some(Error::Failed(message.into())));
            self.end_run(Next::AsPolicySays(Duration::ZERO));
        }
    }

    fn when_ready(&self) -> Deferred<()> {
        let is_ready = match &*self.state.borrow() {
            State::Running(run) => run.is_ready,
            State::Finished => true,
            // Without a sign of readiness, a start that failed is left to the policy.
            _ => matches!(self.settings.readiness, Readiness::Started),
        };
        if is_ready {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.waiting_for_ready.borrow_mut().push(resolver);
        deferred
    }

    /// Handles the exit of the process, before the end of the programs that it may have left behind.
    pub(super) fn exited(self: &Rc<Member>, process: &Process, status: ExitStatus) {
        if status == ExitStatus::Abandoned {
            return self.abandoned(process);
        }
        self.status.set(Some(status));
        let since = match &*self.state.borrow() {
            State::Running(run) if run.process == *process => Some(run.since),
            _ => None,
        };
        // A process that the monitor is ending gets no warning.
        match since {
            Some(_) if !status.is_success() => {
                tracing::warn!(process = self.name, pid = process.pid(), %status, "ended");
            }
            _ => tracing::info!(process = self.name, pid = process.pid(), %status, "ended"),
        }
        let Some(since) = since else { return };
        let lasted = self.reactor().map_or(Duration::ZERO, |reactor| reactor.now() - since);
        self.end_run(Next::AsPolicySays(lasted));
    }

    /// Stops the present run, and everything that it has started. `next` follows then.
    fn end_run(self: &Rc<Member>, next: Next) {
        let state = self.state.replace(State::Stopped);
        match state {
            State::Running(Run { process, probe, timeout, .. }) => {
                self.set(State::Ending { process: process.clone(), next });
                probe.iter().for_each(CancelHandle::cancel);
                timeout.iter().for_each(|timeout| drop(timeout.cancel()));
                self.end_group(process);
            }
            State::Ending { process, next: before } => self.set(State::Ending { process, next: before.or(next) }),
            State::Choosing { next: before } => self.set(State::Choosing { next: before.or(next) }),
            State::Waiting(call) => {
                let _ = call.cancel();
                self.start_if(next);
            }
            State::Stopped | State::Finished => self.start_if(next),
        }
    }

    fn start_if(self: &Rc<Member>, next: Next) {
        if matches!(next, Next::Start) {
            self.launch();
        }
    }

    fn end_group(self: &Rc<Member>, process: Process) {
        let member = self.clone();
        process.end_group(self.settings.kill_time).add_both(move |outcome| match outcome {
            Ok(_) => member.close_pipes(&process),
            Err(_) => member.abandoned(&process),
        });
    }

    /// Waits for the last output, unless a program outside of the group holds the pipes.
    fn close_pipes(self: &Rc<Member>, process: &Process) {
        let Some(reactor) = self.reactor() else { return };
        let holding = process.clone();
        let pipes = Vec::from_iter(self.settings.command.plan().descriptors.keys().copied());
        let patience = reactor.call_later(PIPE_PATIENCE, move |_| {
            pipes.iter().for_each(|fd| holding.close_child_fd(*fd));
        });
        let (member, ended) = (self.clone(), process.clone());
        process.when_ended().add_both(move |outcome| {
            let _ = patience.cancel();
            match outcome {
                Ok(_) => member.over(),
                Err(_) => member.abandoned(&ended),
            }
        });
    }

    /// Handles the end of everything that belongs to the run.
    fn over(self: &Rc<Member>) {
        let next = match &*self.state.borrow() {
            State::Ending { next, .. } => *next,
            _ => return,
        };
        self.set(State::Stopped);
        let is_wanted = self.monitor.upgrade().is_some_and(|monitor| monitor.is_running());
        match next {
            Next::Start if is_wanted => self.launch(),
            Next::AsPolicySays(lasted) if is_wanted => {
                let has_succeeded = self.status.get().is_some_and(ExitStatus::is_success);
                self.decide(has_succeeded && self.error.borrow().is_none(), lasted);
            }
            _ => {}
        }
        self.fire_stopped();
    }

    /// Starts the process again, if the settings want this.
    fn decide(self: &Rc<Member>, has_succeeded: bool, lasted: Duration) {
        if self.settings.restart.applies(has_succeeded) {
            return self.wait(lasted);
        }
        self.set(State::Finished);
        self.fire_ready();
        if let Some(monitor) = self.monitor.upgrade() {
            monitor.member_finished();
        }
    }

    /// Schedules the next start.
    fn wait(self: &Rc<Member>, lasted: Duration) {
        let Some(reactor) = self.reactor() else { return };
        let is_quick = self.error.borrow().is_some() || lasted < self.settings.threshold;
        self.failures.set(if is_quick { self.failures.get().saturating_add(1) } else { 0 });
        let delay = match self.failures.get() {
            0 => Duration::ZERO,
            failures => match self.choose(&reactor, failures) {
                Some(delay) => delay,
                None => return,
            },
        };
        tracing::info!(process = self.name, ?delay, "starting again later");
        let member = self.clone();
        self.set(State::Waiting(reactor.call_later(delay, move |_| member.launch())));
    }

    /// Asks the policy for a delay. Returns `None` if the policy has stopped or restarted the process instead.
    fn choose(self: &Rc<Member>, reactor: &Reactor, failures: u32) -> Option<Duration> {
        self.set(State::Choosing { next: Next::AsPolicySays(Duration::ZERO) });
        let choose = || self.policy.borrow_mut().delay(failures);
        let delay = reactor.call_guarded(CallbackKind::Service, "RetryPolicy::delay", choose);
        let next = match &*self.state.borrow() {
            State::Choosing { next } => *next,
            _ => return None,
        };
        match next {
            Next::AsPolicySays(_) => return Some(delay.unwrap_or(FALLBACK_DELAY)),
            next => {
                self.set(State::Stopped);
                self.start_if(next);
            }
        }
        None
    }

    /// Handles the end of the reactor: the process would outlive its monitor.
    fn abandoned(&self, process: &Process) {
        // It fails if the group is empty.
        let _ = process.signal_group(Signal::KILL);
        self.set(State::Stopped);
        self.fail_waiting();
        self.fire_stopped();
    }

    fn fire_ready(&self) {
        for resolver in self.waiting_for_ready.take() {
            let _ = resolver.callback(());
        }
    }

    fn fail_waiting(&self) {
        for resolver in self.waiting_for_ready.take() {
            let _ = resolver.errback(Cancelled);
        }
    }

    fn fire_stopped(&self) {
        for resolver in self.waiting_for_stop.take() {
            let _ = resolver.callback(());
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}
