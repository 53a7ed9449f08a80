//! Systems without UNIX sockets, or where they were not written yet.

use std::convert::Infallible;
use std::io;
use std::path::Path;

/// The lock of one socket path, which is given up when it is dropped.
#[derive(Debug)]
pub struct UnixLock(Infallible);

impl UnixLock {
    /// Takes the lock of the socket at `path`.
    ///
    /// # Errors
    /// `Unsupported`: there are no UNIX sockets here.
    pub fn acquire(_path: &Path) -> io::Result<UnixLock> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "no UNIX sockets on this system yet"))
    }

    /// Whether a living process holds the lock of the socket at `path`: never, here.
    pub fn is_locked(_path: &Path) -> bool {
        false
    }
}
