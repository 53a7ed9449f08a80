//! Systems without fork(2), or where a process cannot count its threads.

use std::io;

use super::Detached;

pub(super) fn detach() -> io::Result<Detached> {
    let message = "a process cannot go into the background on this system yet: run it in the foreground";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
