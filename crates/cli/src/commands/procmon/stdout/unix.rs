//! Standard output as a descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Returns a copy of the descriptor. The original stays open for the start line.
pub(super) fn duplicate() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}
