//! The file system, as far as sockets need it.

use std::any::Any;
use std::io;
use std::path::Path;

/// The locks beside the paths of UNIX sockets: Twisted's `wantPID` and `checkPID`.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::providers;
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let files = provider.filesystem().unwrap();
/// let socket = std::env::temp_dir().join(format!("ropewalk-door-{}", std::process::id()));
/// let lock = files.lock_socket(&socket)?; // creates the link PATH.lock beside it
/// assert!(files.is_socket_locked(&socket));
/// assert!(files.lock_socket(&socket).is_err());
/// drop(lock);
/// assert!(!files.is_socket_locked(&socket));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Filesystem {
    /// Takes the lock beside the path of a UNIX socket. Dropping the value releases the lock. Does not block.
    ///
    /// If the process of the lock is dead or does not serve the socket, breaks the lock and removes the socket file.
    /// Close the port before you drop the value that protects it.
    ///
    /// # Errors
    /// `AddrInUse` when a living server holds the lock. `InvalidData` when `PATH.lock` is not a lock.
    fn lock_socket(&mut self, path: &Path) -> io::Result<Box<dyn Any>>;

    /// Returns whether a living server holds the lock beside `path`.
    fn is_socket_locked(&mut self, path: &Path) -> bool;
}
