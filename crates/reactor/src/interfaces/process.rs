//! IReactorProcess: child processes.

use ropewalk_proto::Address;
use ropewalk_sys::{ChildDescriptor, PipeEnd, SpawnPlan};

use super::Interface;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Reactor};
use crate::processes::{Command, ProcessProtocol};
use crate::protocols::{Factory, Protocol};
use crate::transports::Process;

impl Reactor {
    /// Starts a program: `spawnProcess`. `protocol` handles its pipes and its end.
    ///
    /// The program runs when this returns. The loop waits until then: about a tenth of a millisecond, whatever
    /// the size of this process. A program that another process has open for writing is tried again for 13 milliseconds. May be called from any callback, and before the reactor runs.
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
    /// [`Error::Spawn`] if the program cannot be started. The protocol is then dropped without a callback. No
    /// process or descriptor remains. [`Error::Unsupported`] if the event provider has no processes, and
    /// [`Error::Waiting`] while the provider waits in another thread.
    pub fn spawn_process(&self, command: &Command, protocol: impl ProcessProtocol + 'static) -> Result<Process> {
        self.require(Interface::Process)?;
        self.begin_process(command.plan(), Box::new(protocol), None)
    }

    /// Starts a program, and makes one connection of its standard input and output, or of its terminal.
    ///
    /// `factory` builds the protocol of the connection, and is neither started nor stopped. `protocol` handles the other
    /// pipes, the exit and the end. The connection is the [`pipe`](Process::pipe) of the numbers 0 and 1, and its loss
    /// is reported to `protocol` as that of 1. [`lose_write_connection`](crate::Transport::lose_write_connection) closes
    /// the child's input. May be called from any callback.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// struct Stop;
    ///
    /// impl ProcessProtocol for Stop {
    ///     fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
    ///         process.reactor().stop().unwrap();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let conversation = AccumulatingProtocol::new();
    /// let process = reactor.connect_process(&Command::new("cat"), &conversation.factory(), Stop)?;
    /// let cat = process.pipe(0).expect("the connection");
    /// cat.write(b"hello");
    /// cat.lose_write_connection();
    /// reactor.run()?;
    /// assert_eq!(conversation.data(), b"hello");
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`spawn_process`](Reactor::spawn_process). [`Error::Failed`] if the command has other descriptors
    /// than the usual pipes as standard input or output. [`Error::Closed`] if the factory builds no protocol, and
    /// [`Error::Panicked`] if it panics: the program is then not started.
    pub fn connect_process(
        &self,
        command: &Command,
        factory: &dyn Factory,
        protocol: impl ProcessProtocol + 'static,
    ) -> Result<Process> {
        self.require(Interface::Process)?;
        let plan = command.plan();
        if !can_converse(plan) {
            let message = "a connection to a program needs pipes as its standard input and output, or a terminal";
            return Err(Error::Failed(message.into()));
        }
        let build = || factory.build_protocol(&Address::Unnamed);
        let conversation = self.0.guard(CallbackKind::Factory, "build_protocol", build)?.ok_or(Error::Closed)?;
        self.begin_process(plan, Box::new(protocol), Some(conversation))
    }

    fn begin_process(
        &self,
        plan: &SpawnPlan,
        protocol: Box<dyn ProcessProtocol>,
        conversation: Option<Box<dyn Protocol>>,
    ) -> Result<Process> {
        let spawned = self.0.processes(|processes| processes.spawn(plan))?.map_err(Error::spawn)?;
        Ok(Process::begin(self, spawned, plan.leads_group(), protocol, conversation))
    }
}

/// Whether the reactor has both ends of a conversation with the child.
fn can_converse(plan: &SpawnPlan) -> bool {
    let has = |number, end| matches!(plan.descriptors.get(&number), Some(ChildDescriptor::Pipe(kept)) if *kept == end);
    plan.terminal.is_some() || has(0, PipeEnd::Writer) && has(1, PipeEnd::Reader)
}
