//! Errors of the system with a message that says more: which fault or host of the simulation is the cause.

use std::error::Error;
use std::{fmt, io};

/// A message, and the system's error as its source, which keeps its number.
#[derive(Debug)]
struct Explained {
    message: String,
    cause: io::Error,
}

/// Returns an error of the kind of `cause`, with `message`.
pub(super) fn explained(cause: io::Error, message: impl Into<String>) -> io::Error {
    io::Error::new(cause.kind(), Explained { message: message.into(), cause })
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}
