//! Moves a process into the background: daemon(7).
//!
//! ```text
//!   parent ---fork--- child, leads a new session ---fork--- daemon
//!     |                 ends at once                          |
//!   reads <---------------- pair of sockets ----------- writes how its start went
//! ```
//!
//! The second fork leaves the session without its leader, so the daemon never gets a terminal again. The daemon chooses
//! the text of its report. An end without any text means that the daemon died.

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

/// The side of the forks on which this process is.
///
/// ```
/// use std::io::Read;
/// use ropewalk_sys::{Detached, detach};
///
/// /// Returns the report of the daemon's start in the parent, and `None` in the daemon.
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
    /// The original process. It reads the daemon's report from this UNIX socket, and should then exit.
    Parent(OwnedWaitable),
    /// The daemon, which writes its report to this UNIX socket. Writing fails if the original process has ended or has
    /// shut its socket down. The standard streams are still those of the parent.
    Daemon(OwnedWaitable),
}

/// Forks, and returns in both processes.
///
/// ```
/// // A process with a second thread cannot go into the background: its work would stay half done.
/// let refused = std::thread::spawn(ropewalk_sys::detach).join().unwrap();
/// assert!(refused.is_err());
/// ```
///
/// # Errors
/// `Unsupported` where the number of threads is not known. `InvalidInput` if the process has other threads: the child
/// would not have them, and their work would stay half done. The errors of socketpair(2) and fork(2).
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
