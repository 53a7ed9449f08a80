//! Which service it was.

use std::fmt;
use std::rc::Rc;

use ropewalk_proto::{Deferred, Failure};

/// A service that has a name could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceFailed {
    /// Its name.
    pub service: Rc<str>,
    /// Why.
    pub failure: Failure,
}

impl fmt::Display for ServiceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service '{}' did not start: {}", self.service, self.failure)
    }
}

impl std::error::Error for ServiceFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.failure.error())
    }
}

/// Has a failure say whose it is.
pub(super) fn named(name: Option<Rc<str>>, started: Deferred<()>) -> Deferred<()> {
    match name {
        Some(service) => started.or_else(move |failure| Err::<(), _>(ServiceFailed { service, failure })),
        None => started,
    }
}
