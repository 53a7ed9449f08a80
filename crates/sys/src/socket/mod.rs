//! Sockets: opening, addresses, options. Every socket here is non-blocking and closed by exec(2).

use std::fmt;
use std::io;

use rustix::io::Errno;

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod adopt;
pub(crate) mod connect;
mod creation;
pub(crate) mod credentials;
pub(crate) mod file;
mod keep_alive;
pub(crate) mod listen;
pub(crate) mod option;
mod raw_address;
pub(crate) mod service;
pub(crate) mod table;
pub(crate) mod transfer;
mod unix_name;

/// An error of the system, with a message that says more.
#[derive(Debug)]
struct Explained {
    message: String,
    cause: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Returns an error with `message`, whose source is the system's error.
fn explained(kind: io::ErrorKind, cause: Errno, message: &str) -> io::Error {
    io::Error::new(kind, Explained { message: message.to_owned(), cause: cause.into() })
}
