//! ELOOP, open(2): std does not name it yet.

use std::io;

use rustix::io::Errno;

/// Whether there were too many links: one that leads to itself, say.
pub(crate) fn are_endless(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}
