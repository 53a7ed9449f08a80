//! An error of the system, with a message that says more.

use std::error::Error;
use std::{fmt, io};

#[derive(Debug)]
struct Explained {
    message: String,
    cause: io::Error,
}

/// Returns an error with `message`, whose source is the system's error, so that its number is not lost. May be called
/// from any thread.
///
/// ```
/// use std::error::Error;
/// use std::io::ErrorKind;
/// use ropewalk_sys::{explained_error, system_error};
///
/// let refused = system_error(ErrorKind::ConnectionRefused);
/// let error = explained_error(refused.kind(), refused, "no program listens on port 80");
/// assert_eq!(error.to_string(), "no program listens on port 80");
/// assert!(error.source().is_some());
/// ```
pub fn explained_error(kind: io::ErrorKind, cause: io::Error, message: impl Into<String>) -> io::Error {
    io::Error::new(kind, Explained { message: message.into(), cause })
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
