//! Leaving the terminal: a process that continues in the background, daemon(7).
//!
//! ```text
//!   parent ---fork--- child, leads a new session ---fork--- daemon
//!     |                 ends at once                          |
//!   reads <------------------- pipe ------------------- writes how its start went
//! ```
//!
//! The second fork leaves the session without its leader, so that the daemon never gets a terminal again. The
//! daemon chooses what it writes. The end of the file without a word means that it died.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io_handle::OwnedWaitable;

#[cfg_attr(threads_counted, path = "unix.rs")]
#[cfg_attr(not(threads_counted), path = "none.rs")]
mod system;
#[cfg(threads_counted)]
#[cfg_attr(linux_like, path = "threads/linux.rs")]
#[cfg_attr(target_os = "freebsd", path = "threads/freebsd.rs")]
#[cfg_attr(target_os = "macos", path = "threads/macos.rs")]
mod threads;

/// On which side of the forks this process is.
///
/// ```
/// use std::io::Read;
/// use ropewalk_sys::{Detached, detach};
///
/// /// In the parent, what the daemon says about its start.
/// fn go_into_the_background() -> std::io::Result<Option<String>> {
///     match detach()? {
///         Detached::Daemon(_report) => Ok(None),
///         Detached::Parent(report) => {
///             let mut told = String::new();
/// #           #[cfg(unix)]
///             std::fs::File::from(report).read_to_string(&mut told)?;
///             Ok(Some(told))
///         }
///     }
/// }
/// # let thread = std::thread::scope(|scope| scope.spawn(go_into_the_background).join().unwrap());
/// # assert!(thread.is_err()); // a process with threads stays
/// ```
#[derive(Debug)]
pub enum Detached {
    /// The process that was there before. It reads here what the daemon writes, and should then end.
    Parent(OwnedWaitable),
    /// The daemon. The standard streams are still the parent's.
    Daemon(OwnedWaitable),
}

/// Forks, and returns in both processes.
///
/// ```
/// // A process with a second thread cannot go into the background: what that was doing would stay half done.
/// let refused = std::thread::spawn(ropewalk_sys::detach).join().unwrap();
/// assert!(refused.is_err());
/// ```
///
/// # Errors
/// `Unsupported` where the number of threads is not known. `InvalidInput` when there are others than this one: a child
/// has none of them, and their work would stay half done for ever. The errors of pipe(2) and fork(2).
pub fn detach() -> io::Result<Detached> {
    let detached = system::detach()?;
    if matches!(detached, Detached::Daemon(_)) {
        IS_DAEMON.store(true, Ordering::Relaxed);
    }
    Ok(detached)
}

/// Whether this process has gone into the background.
#[cfg(unix)]
pub(crate) fn is_daemon() -> bool {
    IS_DAEMON.load(Ordering::Relaxed)
}

static IS_DAEMON: AtomicBool = AtomicBool::new(false);
