//! Child processes: starting them, their pipes, their end.

use std::fmt;
use std::io;

use ropewalk_proto::Key;

use super::{PipeEnd, SpawnError, SpawnPlan, WindowSize};

/// Starts programs as child processes, and reports their end.
///
/// The pipes to a child are keys of streams, as if [`Pipes::adopt_pipe`](super::Pipes::adopt_pipe) had returned them.
/// The process has a key of its own, which reports [`Ready::READ`](super::Ready::READ) when the process has ended.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk_sys::{ExitStatus, SpawnPlan, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let mut plan = SpawnPlan::new("sh");
/// plan.arguments.extend(["-c".into(), "exit 3".into()]);
/// let spawned = provider.processes().unwrap().spawn(&plan)?;
/// let mut events = Vec::new();
/// provider.wait(None, &mut events)?;
/// assert_eq!(events[0].key, spawned.process);
/// let status = provider.processes().unwrap().exit_status(spawned.process)?;
/// assert_eq!(status, Some(ExitStatus::Exited(3)));
/// provider.processes().unwrap().release_process(spawned.process);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Processes {
    /// Starts a program. Blocks until the program has been loaded: about a tenth of a millisecond.
    ///
    /// # Errors
    /// The step that failed, with the system's error. No process, pipe or key is left.
    fn spawn(&mut self, plan: &SpawnPlan) -> Result<Spawned, SpawnError>;

    /// Returns how the process ended. `None` means that it runs. After `Some`, another process
    /// may get its number.
    ///
    /// Call this when the key has reported READ. Other children of this program are never waited for.
    ///
    /// # Errors
    /// `NotFound` for a stale key, or an error of the operating system.
    fn exit_status(&mut self, process: Key) -> io::Result<Option<ExitStatus>>;

    /// Sends a signal by its number, also to a group whose leader has ended.
    ///
    /// # Errors
    /// `NotFound` for a stale key, and if the process, or each process of the group, has ended. `Unsupported` for the
    /// group of an ended leader on a system that cannot find it safely.
    fn signal(&mut self, process: Key, signal: i32, to: Recipient) -> io::Result<()>;

    /// Changes the size of a terminal that [`spawn`](Processes::spawn) returned. The programs in it get SIGWINCH.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk_sys::{ChildDescriptor, Recipient, SpawnPlan, WindowSize, providers};
    ///
    /// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
    /// let mut plan = SpawnPlan::new("cat");
    /// plan.terminal = Some(WindowSize::new(24, 80));
    /// plan.descriptors.extend((0..3).map(|number| (number, ChildDescriptor::Terminal)));
    /// let processes = provider.processes().unwrap();
    /// let cat = processes.spawn(&plan)?;
    /// let [terminal, _] = cat.terminal.unwrap();
    /// processes.resize_terminal(terminal, WindowSize::new(50, 132))?;
    /// processes.signal(cat.process, 9, Recipient::Group)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` for a stale key, `InvalidInput` for one that is not a terminal's.
    fn resize_terminal(&mut self, terminal: Key, size: WindowSize) -> io::Result<()>;

    /// Retires the key of a process. A process that still runs continues to run.
    fn release_process(&mut self, process: Key);
}

/// The recipient of a signal.
///
/// ```
/// use ropewalk_sys::Recipient;
///
/// assert_ne!(Recipient::Process, Recipient::Group);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The process alone.
    Process,
    /// All processes in the group that the process leads.
    Group,
}

/// A process that has been started.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk_sys::{SpawnPlan, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let spawned = provider.processes().unwrap().spawn(&SpawnPlan::new("true"))?;
/// assert!(spawned.pid > 1 && spawned.pipes.is_empty());
/// provider.processes().unwrap().release_process(spawned.process);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Spawned {
    /// The number of the process.
    pub pid: u32,
    /// The key that reports the end of the process.
    pub process: Key,
    /// The ends of pipes that this process has.
    pub pipes: Vec<ChildPipe>,
    /// The keys of the terminal under which bytes are received and sent. On Unix both are the same key.
    pub terminal: Option<[Key; 2]>,
}

impl Spawned {
    /// Returns a process without pipes, for providers that start processes.
    pub fn new(pid: u32, process: Key) -> Spawned {
        Spawned { pid, process, pipes: Vec::new(), terminal: None }
    }
}

/// This process's end of a pipe to a child.
///
/// ```
/// use ropewalk_proto::Key;
/// use ropewalk_sys::{ChildPipe, PipeEnd};
///
/// let output = ChildPipe { number: 1, key: Key::new(7, 0), end: PipeEnd::Reader };
/// assert!(output.end.reads());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChildPipe {
    /// The descriptor number of the child's end.
    pub number: u32,
    /// The key of the stream.
    pub key: Key,
    /// The directions of the stream. [`PipeEnd::Both`] is a socket, whose directions end one by one.
    pub end: PipeEnd,
}

/// The way in which a process ended, or left its reactor.
///
/// ```
/// use ropewalk_sys::ExitStatus;
///
/// assert!(ExitStatus::Exited(0).is_success());
/// assert_eq!(ExitStatus::Exited(3).code(), Some(3));
/// assert_eq!(ExitStatus::Exited(3).to_string(), "exited with status 3");
/// let killed = ExitStatus::Killed { signal: 9, core_dumped: false };
/// assert_eq!(killed.to_string(), "killed by signal 9");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// The process exited with this status.
    Exited(i32),
    /// A signal killed the process.
    Killed {
        /// The number of the signal.
        signal: i32,
        /// Whether the system wrote a core file.
        core_dumped: bool,
    },
    /// The process has ended, but another part of this program has waited for it, so its status is not known.
    Unknown,
    /// The reactor stopped while the process ran. The process continues to run.
    Abandoned,
}

impl ExitStatus {
    /// Returns whether the process exited with status 0.
    pub const fn is_success(self) -> bool {
        matches!(self, ExitStatus::Exited(0))
    }

    /// Returns the status with which the process exited, unless a signal killed it.
    pub const fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// Returns the number of the signal that killed the process.
    pub const fn signal(self) -> Option<i32> {
        match self {
            ExitStatus::Killed { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exited with status {code}"),
            ExitStatus::Killed { signal, core_dumped: false } => write!(f, "killed by signal {signal}"),
            ExitStatus::Killed { signal, core_dumped: true } => {
                write!(f, "killed by signal {signal}, with a core file")
            }
            ExitStatus::Unknown => f.write_str("ended with an unknown status"),
            ExitStatus::Abandoned => f.write_str("continues to run, because the reactor stopped"),
        }
    }
}
