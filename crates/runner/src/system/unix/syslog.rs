//! Sends lines to syslog(3): one datagram per line, `<PRIORITY>NAME[PID]: text`, RFC 3164.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The facility of system daemons.
const FACILITY: u8 = 3;

/// Longer lines are truncated. journald and others accept this length.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A connection to syslog.
pub(crate) struct Syslog {
    path: PathBuf,
    name: &'static str,
    socket: Mutex<UnixDatagram>,
}

impl Syslog {
    pub(crate) fn connect(path: &Path, name: &'static str) -> io::Result<Syslog> {
        Ok(Syslog { path: path.to_owned(), name, socket: Mutex::new(connect(path)?) })
    }

    /// Sends a line. If syslog does not accept it immediately, the line is lost, because the reactor must not block.
    pub(crate) fn send(&self, severity: u8, line: &[u8]) {
        let mut datagram = format!("<{}>{}[{}]: ", FACILITY * 8 + severity, self.name, std::process::id()).into_bytes();
        datagram.extend_from_slice(line.trim_ascii_end());
        datagram.truncate(LINE_BYTES_MAX);
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match socket.send(&datagram) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // syslog may have been restarted.
                if let Ok(again) = connect(&self.path) {
                    let _ = again.send(&datagram);
                    *socket = again;
                }
            }
            _ => {}
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
