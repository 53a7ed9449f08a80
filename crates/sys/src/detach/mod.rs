//! Leaving the terminal: a process that goes on in the background, daemon(7).
//!
//! ```text
//!   parent ---fork--- child, leads a new session ---fork--- daemon
//!     |                 ends at once                          |
//!   reads <------------------- pipe ------------------- writes how its start went
//! ```
//!
//! The second fork leaves the session without its leader, so that the daemon never gets a terminal again. What the daemon
//! writes is its own affair; the end of the file without a word means that it died.

use std::io;

use crate::io_handle::OwnedIo;

#[cfg_attr(linux_like, path = "linux.rs")]
#[cfg_attr(not(linux_like), path = "none.rs")]
mod system;

/// On which side of the forks this process is.
#[derive(Debug)]
pub enum Detached {
    /// The process that was there before. It reads here what the daemon writes, and should then end.
    Parent(OwnedIo),
    /// The daemon. The standard streams are still the parent's.
    Daemon(OwnedIo),
}

/// Forks, and returns in both processes.
///
/// # Errors
/// `Unsupported` where it is not known how many threads there are; `InvalidInput` when there are others than this one: a
/// child has none of them, and what they were doing stays half done for ever. What pipe(2) and fork(2) answer.
pub fn detach() -> io::Result<Detached> {
    system::detach()
}
