//! Systems on which no event provider starts programs.

use std::io;

use ropewalk::sys::OwnedWaitable;

/// Fails, because there are no programs whose output could be written.
pub(super) fn duplicate() -> io::Result<OwnedWaitable> {
    Err(io::ErrorKind::Unsupported.into())
}
