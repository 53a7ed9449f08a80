//! Becomes a daemon, which reports the outcome of its start to its parent through a pipe.
//!
//! A report is one byte, the exit status, followed by an error message. Status 0 means that the daemon has started.

use std::fs::File;
use std::io::{self, Read, Write};

use ropewalk::sys::{Detached, detach};

use crate::system::Daemonized;

/// Longer messages are truncated.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024;

/// The end of the pipe in the parent.
pub(crate) struct Report(File);

/// The end of the pipe in the daemon.
pub(crate) struct Reporter(File);

/// Forks, and returns in both processes.
pub(crate) fn daemonize() -> Result<Daemonized, String> {
    match detach() {
        Ok(Detached::Parent(reader)) => Ok(Daemonized::Parent(Report(reader.into()))),
        Ok(Detached::Daemon(writer)) => Ok(Daemonized::Daemon(Reporter(writer.into()))),
        Err(error) => Err(format!("cannot run in the background: {error}")),
    }
}

impl Report {
    /// Waits for the report: the status and the message.
    pub(crate) fn read(self) -> (u8, String) {
        let mut bytes = Vec::new();
        // Bytes that arrived before an error are kept.
        let _ = self.0.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
        match bytes.split_first() {
            Some((&status, message)) => (status, String::from_utf8_lossy(message).into_owned()),
            None => (1, "the daemon exited during start-up without reporting an error".to_owned()),
        }
    }
}

impl Reporter {
    /// Sends the report. An error is ignored, because the parent may have exited.
    pub(crate) fn report(mut self, status: u8, message: &str) {
        let _ = self.0.write_all(&[&[status], message.as_bytes()].concat());
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
