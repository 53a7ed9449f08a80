//! A handle of a reactor that does not keep it alive.

use std::rc::{Rc, Weak};

use super::{Kernel, Reactor};

/// A handle of a [`Reactor`] that does not keep it alive, which [`Reactor::downgrade`] returns.
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
    /// Creates a handle that refers to no reactor.
    pub const fn new() -> WeakReactor {
        WeakReactor(Weak::new())
    }

    /// Returns the reactor, unless it has been dropped.
    pub fn upgrade(&self) -> Option<Reactor> {
        self.0.upgrade().map(Reactor)
    }
}

impl PartialEq for WeakReactor {
    /// Returns whether both are handles of the same reactor, or both of none.
    fn eq(&self, other: &WeakReactor) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for WeakReactor {}

impl std::fmt::Debug for WeakReactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WeakReactor").field(&self.upgrade()).finish()
    }
}

impl Reactor {
    /// Returns a handle that does not keep the reactor alive.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let weak = reactor.downgrade();
    /// assert!(weak.upgrade() == Some(reactor.clone()) && weak == reactor.downgrade());
    /// drop(reactor); // the last strong handle
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn downgrade(&self) -> WeakReactor {
        WeakReactor(Rc::downgrade(&self.0))
    }
}
