//! A handle of a reactor that does not keep it alive.

use std::rc::{Rc, Weak};

use super::{Kernel, Reactor};

/// A handle of a [`Reactor`] that does not keep it alive.
///
/// Objects that the reactor itself keeps, such as protocols, factories and services, should hold this handle. A
/// [`Reactor`] in such an object would be a reference cycle, which is never dropped. The handle cannot leave the
/// reactor's thread.
///
/// ```
/// use ropewalk::{Reactor, WeakReactor};
///
/// #[derive(Default)]
/// struct Service {
///     reactor: WeakReactor, // refers to no reactor yet
/// }
///
/// let reactor = Reactor::new()?;
/// let mut service = Service::default();
/// assert!(service.reactor.upgrade().is_none());
/// service.reactor = reactor.downgrade();
/// assert_eq!(service.reactor.upgrade().unwrap().name(), reactor.name());
/// drop(reactor);
/// assert!(service.reactor.upgrade().is_none());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct WeakReactor(Weak<Kernel>);

impl WeakReactor {
    /// Returns the reactor, unless it has been dropped.
    pub fn upgrade(&self) -> Option<Reactor> {
        self.0.upgrade().map(Reactor)
    }
}

impl std::fmt::Debug for WeakReactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WeakReactor").field(&self.upgrade()).finish()
    }
}

impl Reactor {
    /// Returns a handle that does not keep the reactor alive.
    pub fn downgrade(&self) -> WeakReactor {
        WeakReactor(Rc::downgrade(&self.0))
    }
}
