//! The trait of an object that handles one child process: IProcessProtocol.

use ropewalk_sys::ExitStatus;

use crate::transports::Process;

/// Handles the pipes and the end of one child process: IProcessProtocol.
///
/// ```text
///   connection_made                                       in spawn_process
///   child_data_received(fd) ... child_connection_lost(fd)  for each descriptor
///   process_exited                                         once
///   process_ended                                          last: exited, and every pipe is lost
/// ```
///
/// The order between `process_exited` and the losses is not fixed, because a program may close its pipes before it exits,
/// and another program may keep them open. The reactor calls the methods on its own thread.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::Reactor;
/// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
///
/// /// Prints what the program writes, and stops the reactor at its end.
/// struct Printer;
///
/// impl ProcessProtocol for Printer {
///     fn out_received(&mut self, _process: &Process, data: &[u8]) {
///         assert_eq!(data, b"hello\n");
///     }
///
///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
///         assert!(status.is_success());
///         process.reactor().stop().unwrap();
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// reactor.spawn_process(&Command::new("echo").arg("hello"), Printer)?;
/// reactor.run()?;
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// A protocol around another one:
///
/// ```
/// use ropewalk::processes::{ExitStatus, Process, ProcessProtocol};
///
/// /// Passes everything on, except for standard error.
/// struct Quiet<P>(P);
///
/// impl<P: ProcessProtocol> ProcessProtocol for Quiet<P> {
///     fn connection_made(&mut self, process: &Process) {
///         self.0.connection_made(process);
///     }
///
///     fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
///         self.0.child_data_received(process, fd, data);
///     }
///
///     fn err_received(&mut self, _process: &Process, _data: &[u8]) {}
///
///     fn child_connection_lost(&mut self, process: &Process, fd: u32) {
///         self.0.child_connection_lost(process, fd);
///     }
///
///     fn process_exited(&mut self, process: &Process, status: ExitStatus) {
///         self.0.process_exited(process, status);
///     }
///
///     fn log_prefix(&self) -> &'static str {
///         self.0.log_prefix()
///     }
/// }
/// ```
pub trait ProcessProtocol {
    /// Called by [`spawn_process`](crate::Reactor::spawn_process), before it returns.
    fn connection_made(&mut self, process: &Process) {
        let _ = process;
    }

    /// Called when the child has written to a descriptor that has a pipe. `fd` is the child's number.
    ///
    /// The default implementation calls [`out_received`](ProcessProtocol::out_received) for standard output and
    /// [`err_received`](ProcessProtocol::err_received) for standard error. Bytes of other descriptors are dropped.
    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        match fd {
            1 => self.out_received(process, data),
            2 => self.err_received(process, data),
            _ => {}
        }
    }

    /// Called with bytes of the child's standard output, or of its terminal.
    fn out_received(&mut self, process: &Process, data: &[u8]) {
        let _ = (process, data);
    }

    /// Called with bytes of the child's standard error.
    fn err_received(&mut self, process: &Process, data: &[u8]) {
        let _ = (process, data);
    }

    /// Called once for each descriptor that has a pipe, when the pipe is closed at either end. All its data has been
    /// delivered.
    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        let _ = (process, fd);
    }

    /// Called when the process has ended. Pipes may still be open, because another program has them too. Also called when
    /// the reactor stops, with [`ExitStatus::Abandoned`].
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }

    /// Called last, when the process has ended and all its pipes are closed.
    ///
    /// If the reactor stops first, the process continues to run, and `status` is
    /// [`ExitStatus::Abandoned`].
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }

    /// Returns the name of the protocol in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<P: ProcessProtocol + ?Sized> ProcessProtocol for Box<P> {
    fn connection_made(&mut self, process: &Process) {
        (**self).connection_made(process);
    }

    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        (**self).child_data_received(process, fd, data);
    }

    fn out_received(&mut self, process: &Process, data: &[u8]) {
        (**self).out_received(process, data);
    }

    fn err_received(&mut self, process: &Process, data: &[u8]) {
        (**self).err_received(process, data);
    }

    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        (**self).child_connection_lost(process, fd);
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        (**self).process_exited(process, status);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        (**self).process_ended(process, status);
    }

    fn log_prefix(&self) -> &'static str {
        (**self).log_prefix()
    }
}
