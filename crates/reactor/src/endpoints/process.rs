//! A program as an endpoint: its standard input and output are the connection.
//!
//! Source: `ProcessEndpoint` of `twisted.internet.endpoints`.

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_sys::ExitStatus;

use super::StreamClientEndpoint;
use crate::error::Error;
use crate::kernel::Reactor;
use crate::processes::{ChildDescriptor, Command, Process, ProcessProtocol};
use crate::protocols::Factory;
use crate::transports::Transport;

/// An endpoint that starts a program for each connection: `process:`.
///
/// Bytes that are written go to the program's standard input, and bytes of its standard output are received. Its
/// standard error is that of this process, unless the command says otherwise. The status of the program is logged when
/// it is not 0.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::endpoints::{ProcessClientEndpoint, client_from_string};
/// use ropewalk::processes::Command;
/// use ropewalk::task::AsyncStream;
///
/// let code = ropewalk::react(|reactor| async move {
///     let sort = ProcessClientEndpoint::new(Command::new("sort").arg("-r"));
///     let mut stream = AsyncStream::connect(&reactor, &sort).await?;
///     stream.write_all(b"apple\npear\n").await?;
///     stream.shut_down_write();
///     assert_eq!(stream.next_line(100).await?.as_deref(), Some(&b"pear"[..]));
///     let described = client_from_string(&reactor, "process:sort:-r")?; // the same endpoint
///     drop(described);
///     Ok::<_, ropewalk::Failure>(())
/// });
/// assert_eq!(code, std::process::ExitCode::SUCCESS);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProcessClientEndpoint {
    command: Command,
}

impl ProcessClientEndpoint {
    /// Returns an endpoint that runs `command`. Its standard error becomes that of this process.
    pub fn new(command: Command) -> ProcessClientEndpoint {
        ProcessClientEndpoint { command: command.stderr(ChildDescriptor::Inherited(2)) }
    }

    /// Sets the program's standard error.
    ///
    /// ```
    /// use ropewalk::endpoints::ProcessClientEndpoint;
    /// use ropewalk::processes::{ChildDescriptor, Command};
    ///
    /// let silent = ProcessClientEndpoint::new(Command::new("ssh").arg("host")).stderr(ChildDescriptor::Null);
    /// # let _ = silent;
    /// ```
    #[must_use]
    pub fn stderr(self, errors: impl Into<ChildDescriptor>) -> ProcessClientEndpoint {
        ProcessClientEndpoint { command: self.command.stderr(errors) }
    }
}

impl StreamClientEndpoint for ProcessClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        let connected = reactor.connect_process(&self.command, &*factory, Watch(self.command.to_string()));
        let transport = connected.and_then(|process| process.pipe(0).ok_or(Error::Closed));
        transport.map_err(Into::into).into()
    }
}

/// Logs the status of a program that failed.
struct Watch(String);

impl ProcessProtocol for Watch {
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        if !status.is_success() {
            tracing::debug!(program = self.0, pid = process.pid(), %status, "a program failed");
        }
    }
}
