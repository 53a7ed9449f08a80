//! Signals to the whole group of a process: TERM first, KILL later.

use std::time::Duration;

use ropewalk_proto::{Deferred, Resolver, fail};
use ropewalk_sys::signals::Signal;
use ropewalk_sys::{ExitStatus, Recipient};

use super::Process;
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;

/// Asks whether any process of a group exists: kill(2).
const PROBE: i32 = 0;

/// The first and the longest time between two of these questions. No event reports the end of a group.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Process {
    /// Sends a signal to all processes of the group that the process leads, also after the process itself has ended, but
    /// not after `process_ended`.
    ///
    /// The group contains the programs that the process has started, unless they have left it. A process leads a group
    /// by [`Command::own_group`](crate::processes::Command::own_group),
    /// [`own_session`](crate::processes::Command::own_session) or a terminal.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::processes::{Command, ProcessProtocol, Signal};
    ///
    /// struct Ignoring;
    ///
    /// impl ProcessProtocol for Ignoring {}
    ///
    /// let reactor = Reactor::new()?;
    /// let process = reactor.spawn_process(&Command::new("sleep").arg("60").own_group(), Ignoring)?;
    /// process.signal_group(Signal::KILL)?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ProcessExitedAlready`] if the group is empty. [`Error::Failed`] if the process leads no group.
    /// [`Error::Io`] if the system refuses.
    pub fn signal_group(&self, signal: impl Into<Signal>) -> Result<()> {
        if !self.0.leads_group {
            return Err(Error::Failed("the process leads no group: see Command::own_group".into()));
        }
        self.send(signal.into(), Recipient::Group)
    }

    /// Stops the process and its group: sends TERM now, and KILL after `grace` if any process of the group is left.
    ///
    /// In `process_exited` this stops the programs that the process has left behind. After `process_ended` it does nothing.
    ///
    /// The Deferred fires with the status of the process when the group is empty, or has got KILL and the process has
    /// ended. If the process leads no group, only the process itself gets the signals. A process that has ended already is
    /// no error. It fails if the reactor stops first.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    /// use ropewalk::processes::{Command, ProcessProtocol};
    ///
    /// struct Stubborn;
    ///
    /// impl ProcessProtocol for Stubborn {}
    ///
    /// let reactor = Reactor::new()?;
    /// let ignores_term = Command::new("sh").args(["-c", "trap '' TERM; sleep 60 & wait"]).own_group();
    /// let process = reactor.spawn_process(&ignores_term, Stubborn)?;
    /// let ended = process.end_group(Duration::from_millis(100));
    /// let stopping = reactor.clone();
    /// let ended = ended.add_callback(move |status| {
    ///     stopping.stop().unwrap();
    ///     status
    /// });
    /// reactor.run()?;
    /// assert!(ended.try_result().unwrap().unwrap().signal().is_some());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn end_group(&self, grace: Duration) -> Deferred<ExitStatus> {
        let Some(kernel) = self.0.reactor.upgrade() else { return fail(Error::Closed) };
        let reactor = Reactor(kernel);
        if let Err(error) = self.send_to_all(Signal::TERM) {
            tracing::debug!(%error, pid = self.pid(), "a process did not get TERM");
        }
        let process = self.clone();
        let kill = reactor.call_later(grace, move |_| {
            if let Err(error) = process.send_to_all(Signal::KILL) {
                tracing::warn!(%error, pid = process.pid(), "the group of a process did not get KILL");
            }
        });
        let hold = GroupHold::new(self);
        self.when_exited().and_then(move |status| {
            let (ended, resolver) = Deferred::new();
            LastOfGroup { hold, kill, status, resolver }.wait(FIRST_PAUSE);
            ended
        })
    }

    fn send_to_all(&self, signal: Signal) -> Result<()> {
        let to = if self.0.leads_group { Recipient::Group } else { Recipient::Process };
        match self.send(signal, to) {
            Err(Error::ProcessExitedAlready) => Ok(()),
            outcome => outcome,
        }
    }

    fn is_group_empty(&self) -> bool {
        // Another error does not say that the group is empty: older systems cannot ask once the leader has ended.
        !self.0.leads_group || matches!(self.send(PROBE.into(), Recipient::Group), Err(Error::ProcessExitedAlready))
    }
}

/// Keeps the key of a process, so that its group can be signalled also after `process_ended`.
struct GroupHold(Process);

impl GroupHold {
    fn new(process: &Process) -> GroupHold {
        let holds = &process.0.group_holds;
        holds.set(holds.get() + 1);
        GroupHold(process.clone())
    }
}

impl Drop for GroupHold {
    fn drop(&mut self) {
        let running = &self.0.0;
        running.group_holds.set(running.group_holds.get() - 1);
        running.release_if_due();
    }
}

/// A group whose leader has ended.
struct LastOfGroup {
    hold: GroupHold,
    kill: DelayedCall,
    status: ExitStatus,
    resolver: Resolver<ExitStatus>,
}

impl LastOfGroup {
    /// Fires the Deferred when the group is empty, or has got KILL.
    fn wait(self, pause: Duration) {
        let process = &self.hold.0;
        let Some(kernel) = process.0.reactor.upgrade() else { return };
        let reactor = Reactor(kernel);
        let left = self.kill.get_time().map(|time| time - reactor.now());
        match left {
            Some(left) if !process.is_group_empty() => {
                reactor.call_later(pause.min(left), move |_| self.wait((2 * pause).min(LONGEST_PAUSE)));
            }
            _ => {
                let _ = self.kill.cancel();
                // It fails if the Deferred was cancelled.
                let _ = self.resolver.callback(self.status);
            }
        }
    }
}
