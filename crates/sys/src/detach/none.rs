//! Systems where threads cannot be counted, or without fork(2).

use std::io;

use super::Detached;

pub(super) fn detach() -> io::Result<Detached> {
    let message = "a process cannot go into the background on this system yet: run it in the foreground";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
