//! Becomes a daemon, which reports the outcome of its start to its parent through a pair of sockets.
//!
//! ```text
//!   parent: reads ... report: exits          daemon: starts ... reports: runs
//!              └─ signal: shuts its socket, ends       ├─ end of the parent: ends
//!                                                      └─ EPIPE: ends
//! ```
//!
//! A report is one byte, the exit status, followed by an error message. Status 0 means that the daemon has started.
//!
//! A signal such as Ctrl-C reaches the parent only. The socket decides once for both processes: after the shutdown, the
//! daemon cannot report any more. A report that was sent before is still read, and the signal comes too late. The end
//! of the parent makes the daemon's socket readable, so the daemon need not wait until it has a report.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use ropewalk::sys::signals::SignalGuard;
use ropewalk::sys::{Detached, Wake, Waker, detach};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Signal, getpid, kill_process};

use crate::system::Daemonized;

/// Longer messages are truncated.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024;

/// The signals that end a command by default, and that a user or a terminal sends.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// The parent's end.
pub(crate) struct Report {
    socket: Arc<OnceLock<OwnedFd>>,
    signals: SignalGuard,
}

/// The daemon's end.
pub(crate) struct Reporter(Arc<File>);

/// Forks, and returns in both processes.
pub(crate) fn daemonize() -> Result<Daemonized, String> {
    let socket = Arc::new(OnceLock::new());
    let refuse = Waker::new(Arc::new(Refuse(socket.clone())));
    // The daemon may be up before the parent runs again, so signals are caught from before the fork.
    let signals = SignalGuard::install(&ENDING.map(Signal::as_raw), refuse);
    let signals = signals.map_err(|error| format!("cannot catch signals: {error}"))?;
    match detach() {
        Ok(Detached::Parent(reader)) => {
            let _ = socket.set(reader);
            Ok(Daemonized::Parent(Report { socket, signals }))
        }
        Ok(Detached::Daemon(writer)) => Ok(Daemonized::Daemon(Reporter(Arc::new(writer.into())))),
        Err(error) => Err(format!("cannot run in the background: {error}")),
    }
}

impl Report {
    /// Waits for the report: the status and the message. If a signal comes first, this process ends by the signal.
    pub(crate) fn read(self) -> (u8, String) {
        let early = self.signals.take();
        if early.is_some() {
            refuse(&self.socket);
        }
        let mut bytes = Vec::new();
        if let Some(Ok(socket)) = self.socket.get().map(OwnedFd::try_clone) {
            // Bytes that arrived before an error are kept.
            let _ = File::from(socket).take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
        }
        match bytes.split_first() {
            Some((&status, message)) => {
                // From here on a signal must not end this process: the daemon is up.
                std::mem::forget(self.signals);
                (status, String::from_utf8_lossy(message).into_owned())
            }
            None => {
                let arrived = early.or_else(|| self.signals.take());
                end_by_signal(self.signals, arrived);
                (1, "the daemon exited during start-up without reporting an error".to_owned())
            }
        }
    }
}

/// Refuses the report when a signal arrives, if the parent has its socket by then.
struct Refuse(Arc<OnceLock<OwnedFd>>);

impl Wake for Refuse {
    fn wake(&self) {
        refuse(&self.0);
    }
}

/// Makes the daemon's report fail, unless it was sent before. Async-signal-safe: shutdown(2).
fn refuse(socket: &OnceLock<OwnedFd>) {
    if let Some(socket) = socket.get() {
        let _ = shutdown(socket, Shutdown::Read);
    }
}

/// Kills this process with the signal that has arrived, if one has.
fn end_by_signal(signals: SignalGuard, arrived: Option<i32>) {
    // The signals have their default effect again.
    drop(signals);
    if let Some(signal) = arrived.and_then(Signal::from_named_raw) {
        let _ = kill_process(getpid(), signal);
    }
}

impl Reporter {
    /// Sends the report.
    ///
    /// # Errors
    /// EPIPE if the parent has ended or refuses the report.
    pub(crate) fn report(self, status: u8, message: &str) -> io::Result<()> {
        (&*self.0).write_all(&[&[status], message.as_bytes()].concat())?;
        // The parent reads to the end, and a call that is queued by the watch may still hold the socket.
        Ok(shutdown(&*self.0, Shutdown::Write)?)
    }

    /// Returns the socket, which becomes readable when the parent ends.
    pub(super) fn socket(&self) -> Arc<File> {
        self.0.clone()
    }
}

/// Redirects standard input from /dev/null.
pub(crate) fn redirect_input() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}

/// Redirects standard output and standard error to /dev/null.
pub(crate) fn redirect_output() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}
