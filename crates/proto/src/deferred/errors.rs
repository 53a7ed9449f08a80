//! The errors that Deferreds make themselves.

use std::any::Any;
use std::error::Error;
use std::fmt;

use super::Failure;

/// `callback` or `errback` on a Deferred that has fired already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyCalled;

impl fmt::Display for AlreadyCalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred has fired already")
    }
}

impl Error for AlreadyCalled {}

/// The Deferred was cancelled before it had a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred was cancelled")
    }
}

impl Error for Cancelled {}

/// The last [`Resolver`](crate::Resolver) was dropped, so that nobody could fire the Deferred any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred was abandoned: its resolver was dropped without firing it")
    }
}

impl Error for Abandoned {}

/// A callback returned the Deferred that waits for that callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitsForItself;

impl fmt::Display for WaitsForItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback returned the Deferred that it belongs to, which would wait for itself")
    }
}

impl Error for WaitsForItself {}

/// A callback panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: String,
}

impl Panicked {
    pub(super) fn new(payload: &(dyn Any + Send)) -> Panicked {
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panicked { message: message.unwrap_or("(no text)").to_owned() }
    }

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a callback panicked: {}", self.message)
    }
}

impl Error for Panicked {}

/// The first of several Deferreds to fail.
#[derive(Debug)]
#[non_exhaustive]
pub struct FirstError {
    /// Why it failed.
    pub failure: Failure,
    /// Its place among them.
    pub index: usize,
}

impl fmt::Display for FirstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred {} failed", self.index)
    }
}

impl Error for FirstError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.failure.error())
    }
}
