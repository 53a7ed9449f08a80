//! Signals to the whole group of a process: TERM first, KILL later.

use std::time::Duration;

use ropewalk_proto::{Deferred, fail, succeed};
use ropewalk_sys::signals::Signal;
use ropewalk_sys::{ExitStatus, Recipient};

use super::Process;
use crate::error::{Error, Result};
use crate::kernel::Reactor;

/// Asks whether any process of a group exists: kill(2).
const PROBE: i32 = 0;

impl Process {
    /// Sends a signal to all processes of the group that the process leads, also after the process itself has ended.
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
            let _ = process.send_to_all(Signal::KILL);
        });
        let process = self.clone();
        self.when_exited().and_then(move |status| {
            if process.is_group_empty() {
                let _ = kill.cancel();
                return succeed(status);
            }
            // The last signal is still to come. It cannot be waited for, because the others are not children.
            let left = kill.get_time().map_or(Duration::ZERO, |time| time - reactor.now());
            reactor.defer_later(left, move |_| succeed(status))
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
        !self.0.leads_group || self.send(PROBE.into(), Recipient::Group).is_err()
    }
}
