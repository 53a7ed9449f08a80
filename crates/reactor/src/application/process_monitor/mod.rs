//! ProcessMonitor: keeps programs running. The source is `ProcessMonitor` of twisted.runner.procmon.
//!
//! ```text
//!   ProcessMonitor    the service: starts in order, stops in reverse order
//!     Member          one process: its state, back-off, readiness
//!       Supervised    the protocol of one run: lines of output, exit
//! ```

mod lines;
mod member;
mod probe;
mod report;
mod settings;
mod supervised;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use ropewalk_proto::{Cancelled, Deferred, Resolver, fail, succeed};

use super::Service;
use crate::error::{Error, Result};
use crate::kernel::{Reactor, WeakReactor};
use crate::transports::PushProducer;
use member::Member;

pub use lines::OutputLine;
pub use report::{ProcessReport, ProcessState};
pub use settings::{MonitoredProcess, Restart};

/// A service that keeps programs running: it starts them, starts them again when they end, and stops them.
///
/// - The processes start in the order in which they were added. One that has a sign of readiness delays those after it
///   until it is ready. The Deferred of the start fires when all are ready.
/// - A process that ends soon, or cannot start, is started again after a delay that its [`RetryPolicy`] chooses.
/// - The processes are stopped in reverse order, one after another: TERM to the group of the process, and KILL after
///   the kill time. Programs that a process leaves behind in its group are ended in the same way.
/// - If the reactor stops without waiting for the monitor, the processes get KILL.
///
/// All clones refer to the same monitor. The methods may be called from any callback on the reactor's thread.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::Reactor;
/// use ropewalk::application::{Application, MonitoredProcess, ProcessMonitor};
/// use ropewalk::processes::Command;
///
/// let reactor = Reactor::new()?;
/// let application = Application::new("site");
/// let stopping = reactor.clone();
/// let monitor = ProcessMonitor::new().on_output(move |line| {
///     assert_eq!((line.process, line.text), ("web", &b"listening"[..]));
///     stopping.stop().unwrap();
/// });
/// let web = Command::new("sh").args(["-c", "echo listening; exec sleep 60"]);
/// monitor.add_process("web", MonitoredProcess::new(web))?;
/// application.services().add(monitor.clone());
/// application.run(&reactor)?;
/// assert!(monitor.processes()[0].status.is_some_and(|status| status.signal() == Some(15)));
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// [`RetryPolicy`]: super::RetryPolicy
#[derive(Clone, Default)]
pub struct ProcessMonitor(Rc<Monitor>);

type Sink = Rc<dyn Fn(&OutputLine<'_>)>;

#[derive(Default)]
struct Monitor {
    members: RefCell<Vec<Rc<Member>>>,
    reactor: RefCell<WeakReactor>,
    /// `None` writes the lines to the log.
    sink: RefCell<Option<Sink>>,
    is_running: Cell<bool>,
    is_paused: Cell<bool>,
    waiting_for_finish: RefCell<Vec<Resolver<()>>>,
}

impl ProcessMonitor {
    /// Creates a monitor without processes. Their output is logged.
    pub fn new() -> ProcessMonitor {
        ProcessMonitor::default()
    }

    /// Sets a function that gets each line of output, in place of the log.
    ///
    /// [`PushProducer::pause_producing`] of the monitor applies back-pressure: the processes wait when they write.
    #[must_use]
    pub fn on_output(self, sink: impl Fn(&OutputLine<'_>) + 'static) -> ProcessMonitor {
        self.0.sink.replace(Some(Rc::new(sink)));
        self
    }

    /// Adds a process: `addProcess`. If the monitor runs, the process starts now.
    ///
    /// # Errors
    /// [`Error::ServiceNameTaken`] if a process has this name.
    pub fn add_process(&self, name: impl Into<String>, process: MonitoredProcess) -> Result<()> {
        let name = name.into();
        if self.0.find(&name).is_some() {
            return Err(Error::ServiceNameTaken(name.into()));
        }
        let member = Member::new(name, process, &self.0);
        self.0.members.borrow_mut().push(member.clone());
        if self.0.is_running.get() {
            member.start().add_both(drop);
        }
        Ok(())
    }

    /// Stops a process and removes it: `removeProcess`. The Deferred fires when the process has ended.
    ///
    /// ```
    /// use ropewalk::application::{MonitoredProcess, ProcessMonitor};
    /// use ropewalk::processes::Command;
    ///
    /// let monitor = ProcessMonitor::new();
    /// monitor.add_process("web", MonitoredProcess::new(Command::new("httpd")))?;
    /// assert!(monitor.add_process("web", MonitoredProcess::new(Command::new("nginx"))).is_err());
    /// monitor.restart_all(); // nothing runs yet
    /// let removed = monitor.remove_process("web");
    /// assert!(removed.is_done() && monitor.processes().is_empty());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The Deferred fails with [`Error::Failed`] if no process has this name.
    pub fn remove_process(&self, name: &str) -> Deferred<()> {
        let Some(member) = self.0.find(name) else {
            return fail(Error::Failed(format!("no process has the name '{name}'").into()));
        };
        self.0.members.borrow_mut().retain(|other| !Rc::ptr_eq(other, &member));
        let stopped = member.remove();
        self.0.member_finished();
        stopped
    }

    /// Stops all processes and starts each again when it has ended: `restartAll`. A delay is cut short. Does nothing
    /// unless the monitor runs.
    pub fn restart_all(&self) {
        if self.0.is_running.get() {
            self.0.members().iter().for_each(Member::restart);
        }
    }

    /// Sends KILL to the groups of all processes that run: for a program that cannot wait for a stop.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::application::{Application, MonitoredProcess, ProcessMonitor};
    /// use ropewalk::processes::Command;
    ///
    /// let reactor = Reactor::new()?;
    /// let monitor = ProcessMonitor::new();
    /// let stubborn = Command::new("sh").args(["-c", "trap '' TERM; sleep 60"]);
    /// monitor.add_process("stubborn", MonitoredProcess::new(stubborn))?;
    /// let application = Application::new("site");
    /// application.services().add(monitor.clone());
    /// reactor.call_when_running(move |reactor| {
    ///     reactor.stop().unwrap();
    ///     reactor.call_later(std::time::Duration::from_millis(50), move |_| monitor.kill_all());
    /// });
    /// application.run(&reactor)?; // ends at once, not after the kill time
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn kill_all(&self) {
        self.0.members().iter().for_each(|member| member.kill());
    }

    /// Returns the processes with their states, in the order in which they start.
    pub fn processes(&self) -> Vec<ProcessReport> {
        self.0.members().iter().map(|member| member.report()).collect()
    }

    /// Returns a Deferred that fires when all processes have finished, so that none will be started again.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::application::{Application, MonitoredProcess, ProcessMonitor, Restart};
    /// use ropewalk::processes::Command;
    ///
    /// let reactor = Reactor::new()?;
    /// let monitor = ProcessMonitor::new();
    /// monitor.add_process("job", MonitoredProcess::new(Command::new("true")).restart(Restart::OnFailure))?;
    /// let stopping = reactor.clone();
    /// monitor.when_finished().add_callback(move |()| stopping.stop().unwrap());
    /// let application = Application::new("jobs");
    /// application.services().add(monitor.clone());
    /// application.run(&reactor)?;
    /// assert!(monitor.processes()[0].has_succeeded());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// It fails with [`Cancelled`] when the monitor stops.
    pub fn when_finished(&self) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        self.0.waiting_for_finish.borrow_mut().push(resolver);
        self.0.member_finished();
        deferred
    }
}

impl Service for ProcessMonitor {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        self.0.reactor.replace(reactor.downgrade());
        self.0.is_running.set(true);
        let members = self.0.members().into_iter();
        members.fold(succeed(()), |before, member| {
            let monitor = self.0.clone();
            before.and_then(move |()| monitor.start_in_turn(&member))
        })
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        self.0.is_running.set(false);
        for resolver in self.0.waiting_for_finish.take() {
            let _ = resolver.errback(Cancelled);
        }
        let members = self.0.members();
        members.iter().for_each(Member::forgo_restart);
        members.into_iter().rev().fold(succeed(()), |before, member| {
            let monitor = self.0.clone();
            before.and_then(move |()| monitor.stop_in_turn(&member))
        })
    }
}

impl PushProducer for ProcessMonitor {
    /// Stops reading the output of all processes.
    fn pause_producing(&self) {
        self.0.pause(true);
    }

    /// Continues to read the output.
    fn resume_producing(&self) {
        self.0.pause(false);
    }

    /// Reads and drops all further output, because nothing takes it. The processes continue to run.
    fn stop_producing(&self) {
        self.0.sink.replace(Some(Rc::new(|_| ())));
        self.0.pause(false);
    }
}

impl fmt::Debug for ProcessMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessMonitor").field("processes", &self.processes()).finish_non_exhaustive()
    }
}

impl Monitor {
    fn reactor(&self) -> Option<Reactor> {
        self.reactor.borrow().upgrade()
    }

    fn is_running(&self) -> bool {
        self.is_running.get()
    }

    fn is_paused(&self) -> bool {
        self.is_paused.get()
    }

    /// Starts a member when those before it are ready. Meanwhile it may have been removed, or the monitor stopped.
    fn start_in_turn(&self, member: &Rc<Member>) -> Deferred<()> {
        if !self.is_running.get() {
            return fail(Cancelled);
        }
        let is_present = self.members.borrow().iter().any(|other| Rc::ptr_eq(other, member));
        if is_present { member.start() } else { succeed(()) }
    }

    /// Stops a member when those after it have stopped. Meanwhile the monitor may have been started again.
    fn stop_in_turn(&self, member: &Rc<Member>) -> Deferred<()> {
        if self.is_running.get() { succeed(()) } else { member.stop() }
    }

    /// Returns a copy of the list, because callbacks may change it.
    fn members(&self) -> Vec<Rc<Member>> {
        self.members.borrow().clone()
    }

    fn find(&self, name: &str) -> Option<Rc<Member>> {
        self.members.borrow().iter().find(|member| member.name() == name).cloned()
    }

    fn pause(&self, is_paused: bool) {
        self.is_paused.set(is_paused);
        self.members().iter().for_each(|member| member.pause(is_paused));
    }

    fn line_received(&self, line: &OutputLine<'_>) {
        let sink = self.sink.borrow().clone();
        match sink {
            Some(sink) => sink(line),
            None => tracing::info!(process = line.process, "{}", String::from_utf8_lossy(line.text)),
        }
    }

    fn member_finished(&self) {
        let are_finished = self.members.borrow().iter().all(|member| member.is_finished());
        if self.is_running.get() && are_finished {
            for resolver in self.waiting_for_finish.take() {
                let _ = resolver.callback(());
            }
        }
    }
}
