//! Attaches a service's name to its failure.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_proto::{Deferred, Failure};

/// The error of a named service that could not be started.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::{Application, Service, ServiceFailed};
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::{Deferred, Reactor, fail};
///
/// struct Database;
///
/// impl Service for Database {
///     fn start(&self, _reactor: &Reactor) -> Deferred<()> {
///         fail(std::io::Error::other("the disk is full"))
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let application = Application::new("shop");
/// application.services().add_named("database", Database)?;
/// let started = application.start(&net);
/// net.call_later(Duration::from_secs(1), |reactor| reactor.stop().unwrap());
/// net.run()?;
/// let failure = started.try_result().unwrap().unwrap_err();
/// assert_eq!(&*failure.downcast_ref::<ServiceFailed>().unwrap().service, "database");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceFailed {
    /// The service's name.
    pub service: Arc<str>,
    /// The reason.
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

/// Adds the service's name, if it has one, to a failure.
pub(super) fn named(name: Option<Rc<str>>, started: Deferred<()>) -> Deferred<()> {
    match name {
        Some(name) => {
            let service = Arc::from(&*name);
            started.or_else(move |failure| Err::<(), _>(ServiceFailed { service, failure }))
        }
        None => started,
    }
}
