//! A file of secrets, for tools that decrypt recorded traffic.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::KeyLog;

use crate::error::TlsError;
use crate::identity::at;

/// Opens a file for the secrets of connections, in the format of the variable `SSLKEYLOGFILE`.
///
/// Every reader of the file can decrypt recorded traffic. Lines are appended to an existing file. Blocks while the
/// file is opened, and for each handshake while lines are written.
///
/// ```
/// assert!(ropewalk_tls::key_log_file("missing/keys").is_err());
/// ```
///
/// # Errors
/// [`TlsError::Configuration`] if the file cannot be opened. The text begins with the path.
pub fn key_log_file(path: impl AsRef<Path>) -> Result<Arc<dyn KeyLog>, TlsError> {
    let path = path.as_ref();
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let file = opened.map_err(|error| at(path, &error))?;
    Ok(Arc::new(KeyLogFile(Mutex::new(file))))
}

#[derive(Debug)]
struct KeyLogFile(Mutex<File>);

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let Ok(mut file) = self.0.lock() else { return };
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::debug!(%error, "the secrets of a connection were not logged");
        }
    }
}
