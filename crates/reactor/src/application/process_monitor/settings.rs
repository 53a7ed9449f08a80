//! The settings of one monitored process.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_sys::{ChildDescriptor, PipeEnd};

use crate::endpoints::StreamClientEndpoint;
use crate::processes::Command;
use crate::protocols::{BackOff, RetryPolicy};

/// Twisted's defaults. A delay doubles with each quick exit.
const THRESHOLD: Duration = Duration::from_secs(1);
const KILL_TIME: Duration = Duration::from_secs(5);
const MIN_RESTART_DELAY: Duration = Duration::from_secs(1);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(3600);

/// The default length of a line of output, in bytes.
const LINE_LENGTH: usize = 16 << 10;

/// The ends after which a process is started again.
///
/// ```
/// use ropewalk::application::Restart;
///
/// assert_eq!(Restart::default(), Restart::Always); // as in Twisted
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Every end.
    #[default]
    Always,
    /// An end by a signal or with another status than 0, and a failed start.
    OnFailure,
    /// No end: the process runs once.
    Never,
}

impl Restart {
    pub(super) fn applies(self, has_succeeded: bool) -> bool {
        match self {
            Restart::Always => true,
            Restart::OnFailure => !has_succeeded,
            Restart::Never => false,
        }
    }
}

/// A command with the settings by which a [`ProcessMonitor`](super::ProcessMonitor) keeps it running.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::{MonitoredProcess, Restart};
/// use ropewalk::endpoints::TcpClientEndpoint;
/// use ropewalk::processes::Command;
///
/// let web = MonitoredProcess::new(Command::new("httpd").arg("-f"))
///     .restart(Restart::OnFailure)
///     .threshold(Duration::from_secs(10)) // a shorter life counts as a failure
///     .retry_policy(|failures| Duration::from_secs(u64::from(failures).min(60)))
///     .kill_time(Duration::from_secs(30)) // between TERM and KILL
///     .line_length(1 << 10)
///     .ready_port(TcpClientEndpoint::new("127.0.0.1:80")?);
/// let database = MonitoredProcess::new(Command::new("postgres"))
///     .ready_line("ready to accept connections")
///     .ready_timeout(Duration::from_secs(60)); // then it is stopped, and started again
/// # let _ = (web, database);
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[must_use]
pub struct MonitoredProcess {
    pub(super) command: Command,
    pub(super) restart: Restart,
    pub(super) threshold: Duration,
    pub(super) policy: Box<dyn RetryPolicy>,
    pub(super) kill_time: Duration,
    pub(super) line_length: usize,
    pub(super) readiness: Readiness,
    pub(super) ready_timeout: Option<Duration>,
}

/// The sign that a process is ready.
pub(super) enum Readiness {
    /// The process is ready as soon as it runs.
    Started,
    /// A line of output contains this text.
    Line(Vec<u8>),
    /// The endpoint accepts a connection.
    Endpoint(Rc<dyn StreamClientEndpoint>),
}

impl MonitoredProcess {
    /// Creates settings with Twisted's defaults: a process that lives for less than a second is started again after 1
    /// second, then 2, 4 and so on, up to an hour. Other ends are followed by a start at once. The kill time is 5 seconds.
    ///
    /// The process gets a group of its own, unless the command says otherwise. A standard input that is a pipe is
    /// replaced by `/dev/null`, because the monitor writes nothing.
    pub fn new(command: Command) -> MonitoredProcess {
        let command = if command.plan().leads_group() { command } else { command.own_group() };
        let is_piped = matches!(command.plan().descriptors.get(&0), Some(ChildDescriptor::Pipe(PipeEnd::Writer)));
        let policy = BackOff::new().initial_delay(MIN_RESTART_DELAY / 2).factor(2.0).max_delay(MAX_RESTART_DELAY);
        MonitoredProcess {
            command: if is_piped { command.stdin(ChildDescriptor::Null) } else { command },
            restart: Restart::Always,
            threshold: THRESHOLD,
            policy: Box::new(policy.jitter(Duration::ZERO)),
            kill_time: KILL_TIME,
            line_length: LINE_LENGTH,
            readiness: Readiness::Started,
            ready_timeout: None,
        }
    }

    /// Sets the ends after which the process is started again.
    pub fn restart(mut self, restart: Restart) -> MonitoredProcess {
        self.restart = restart;
        self
    }

    /// Sets the time that a process must live to be started again without a delay: `threshold`.
    pub fn threshold(mut self, threshold: Duration) -> MonitoredProcess {
        self.threshold = threshold;
        self
    }

    /// Sets the policy that chooses the delay after quick exits and failed starts in a row: `minRestartDelay` and
    /// `maxRestartDelay`.
    pub fn retry_policy(mut self, policy: impl RetryPolicy + 'static) -> MonitoredProcess {
        self.policy = Box::new(policy);
        self
    }

    /// Sets the time between TERM and KILL: `killTime`.
    pub fn kill_time(mut self, kill_time: Duration) -> MonitoredProcess {
        self.kill_time = kill_time;
        self
    }

    /// Sets the number of bytes after which a line of output is cut. The default is 16 KiB.
    pub fn line_length(mut self, bytes: usize) -> MonitoredProcess {
        self.line_length = bytes;
        self
    }

    /// Waits for a line of output that contains `text`. The process is ready then.
    pub fn ready_line(mut self, text: impl Into<Vec<u8>>) -> MonitoredProcess {
        self.readiness = Readiness::Line(text.into());
        self
    }

    /// Connects to `endpoint` until it accepts a connection, which is then closed. The process is ready then.
    ///
    /// Another program that listens there counts as well.
    pub fn ready_port(mut self, endpoint: impl StreamClientEndpoint + 'static) -> MonitoredProcess {
        self.readiness = Readiness::Endpoint(Rc::new(endpoint));
        self
    }

    /// Sets the time from the start in which the process must become ready. The default is no limit.
    ///
    /// A process that is late is stopped, and counts as a failed start: [`Restart`] and the retry policy choose what
    /// follows. Processes that wait for its readiness continue to wait. Without a sign of readiness it has no effect.
    pub fn ready_timeout(mut self, limit: Duration) -> MonitoredProcess {
        self.ready_timeout = Some(limit);
        self
    }
}

impl fmt::Debug for MonitoredProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MonitoredProcess { command, restart, threshold, kill_time, .. } = self;
        f.debug_struct("MonitoredProcess")
            .field("command", &command.to_string())
            .field("restart", restart)
            .field("threshold", threshold)
            .field("kill_time", kill_time)
            .finish_non_exhaustive()
    }
}
