//! The visible state of a monitored process.

use ropewalk_sys::ExitStatus;

use crate::error::Error;

/// The state of a process of a [`ProcessMonitor`](super::ProcessMonitor).
///
/// ```
/// use ropewalk::application::{MonitoredProcess, ProcessMonitor, ProcessState};
/// use ropewalk::processes::Command;
///
/// let monitor = ProcessMonitor::new();
/// monitor.add_process("web", MonitoredProcess::new(Command::new("httpd")))?;
/// assert_eq!(monitor.processes()[0].state, ProcessState::Stopped); // the monitor has not started
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// The process does not run: the monitor has not started it, or has stopped it.
    Stopped,
    /// The process runs, but is not ready yet.
    Starting,
    /// The process runs, and is ready.
    Ready,
    /// The process is being stopped, or has ended and left programs behind that are being stopped.
    Ending,
    /// The process will be started again after a delay.
    Waiting,
    /// The process has ended, or could not start, and [`Restart`](super::Restart) wants no further start.
    Finished,
}

/// A process of a [`ProcessMonitor`](super::ProcessMonitor), at one moment.
///
/// ```
/// use ropewalk::application::ProcessMonitor;
///
/// for process in ProcessMonitor::new().processes() {
///     println!("{}: {:?}, {} restarts", process.name, process.state, process.restarts);
///     if !process.has_succeeded() {
///         println!("it ended last with {:?}", process.status);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessReport {
    /// The name of the process.
    pub name: String,
    /// The state.
    pub state: ProcessState,
    /// The number of the process while it runs.
    pub pid: Option<u32>,
    /// The way in which the process ended last.
    pub status: Option<ExitStatus>,
    /// The reason if the last start failed.
    pub error: Option<Error>,
    /// The number of starts after the first one.
    pub restarts: u64,
}

impl ProcessReport {
    /// Returns whether the process ended with status 0 when it ended last. May be called from any callback and any thread.
    pub fn has_succeeded(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(ExitStatus::is_success)
    }
}
