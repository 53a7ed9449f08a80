//! The daemon and the process that started it.
//!
//! The daemon writes one byte, its exit status, and then a message; status 0 says that it has started.

use std::fs::File;
use std::io::{self, Read, Write};

use ropewalk::sys::{Detached, detach};

use crate::system::Side;

/// A longer message is cut off.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024;

/// The parent's end.
pub(crate) struct Report(File);

/// The daemon's end.
pub(crate) struct Telling(File);

/// Goes into the background, and returns on both sides.
pub(crate) fn become_daemon() -> Result<Side, String> {
    match detach() {
        Ok(Detached::Parent(reader)) => Ok(Side::Parent(Report(reader.into()))),
        Ok(Detached::Daemon(writer)) => Ok(Side::Daemon(Telling(writer.into()))),
        Err(error) => Err(format!("cannot go into the background: {error}")),
    }
}

impl Report {
    /// Waits for what the daemon says: its status and a message.
    pub(crate) fn read(self) -> (u8, String) {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        let _ = self.0.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
        match bytes.split_first() {
            Some((&status, message)) => (status, String::from_utf8_lossy(message).into_owned()),
            None => (1, "the daemon ended before it had started, without a word".to_owned()),
        }
    }
}

impl Telling {
    /// Tells how it went. Nobody may be listening any more.
    pub(crate) fn tell(mut self, status: u8, message: &str) {
        let _ = self.0.write_all(&[&[status], message.as_bytes()].concat());
    }
}

/// Has nothing more come from the terminal.
pub(crate) fn hide_input() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}

/// Has nothing more go to the terminal.
pub(crate) fn close_streams() -> io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(rustix::stdio::dup2_stderr(&nowhere)?)
}
