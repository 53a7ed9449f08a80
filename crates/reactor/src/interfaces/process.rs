//! IReactorProcess: child processes.

use ropewalk_sys::ProcessGroup;

use super::Interface;
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::processes::{Command, ProcessProtocol};
use crate::transports::Process;

impl Reactor {
    /// Starts a program: `spawnProcess`. `protocol` handles its pipes and its end.
    ///
    /// The program runs when this returns. The loop waits until then: about a tenth of a millisecond, whatever
    /// the size of this process. May be called from any callback, and before the reactor runs.
    ///
    /// The reactor waits for this child alone, so other libraries may have children as well. When the reactor stops, its
    /// children continue to run. Their pipes are closed, and their protocols are notified of the end.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
    ///
    /// struct Exit;
    ///
    /// impl ProcessProtocol for Exit {
    ///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
    ///         assert_eq!(status, ExitStatus::Exited(3));
    ///         process.reactor().stop().unwrap();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.spawn_process(&Command::new("sh").args(["-c", "exit 3"]), Exit)?;
    /// reactor.run()?;
    /// let error = reactor.spawn_process(&Command::new("/no/such/program"), Exit).unwrap_err();
    /// assert_eq!(error.to_string(), "cannot run the program '/no/such/program': there is no such file");
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Spawn`] if the program cannot be started. The protocol is then dropped without a call, and nothing is
    /// left. [`Error::Unsupported`] if the event provider has no processes, and [`Error::Waiting`] while the provider
    /// waits in another thread.
    pub fn spawn_process(&self, command: &Command, protocol: impl ProcessProtocol + 'static) -> Result<Process> {
        self.require(Interface::Process)?;
        let plan = command.plan();
        let spawned = self.0.processes(|processes| processes.spawn(plan))?.map_err(Error::spawn)?;
        let leads_group = plan.group != ProcessGroup::Inherited || plan.terminal.is_some();
        Ok(Process::begin(self, spawned, leads_group, Box::new(protocol)))
    }
}
