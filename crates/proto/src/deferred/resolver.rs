//! The firing side.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::errors::{Abandoned, AlreadyCalled};
use super::failure::Failure;
use super::node::{Inlet, Node, Outlet, Run, drive};
use super::origin::{Origin, Source};

/// Fires the [`Deferred`](crate::Deferred) that it was made with: once, with a value or a failure.
///
/// Clones fire the same Deferred. When the last one is dropped and none has fired, the Deferred fails with [`Abandoned`]
/// rather than waiting for ever.
///
/// ```
/// use ropewalk_proto::{Deferred, Resolver};
///
/// /// Somebody who waits for an answer to his question.
/// struct Asker {
///     resolver: Resolver<u32>,
/// }
///
/// let (answer, resolver) = Deferred::new();
/// let asker = Asker { resolver };
/// assert!(!asker.resolver.is_called());
/// asker.resolver.callback(42)?;
/// assert_eq!(answer.try_result().unwrap().unwrap(), 42);
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
pub struct Resolver<T: 'static> {
    source: Rc<Source<T>>,
}

impl<T: 'static> Resolver<T> {
    pub(super) fn new(source: Rc<Source<T>>) -> Resolver<T> {
        source.resolvers.set(source.resolvers.get() + 1);
        Resolver { source }
    }

    /// Fires with a value: the callbacks run before this returns.
    ///
    /// May be called from a callback, also of the same chain.
    ///
    /// # Errors
    /// [`AlreadyCalled`] when it has fired. After a cancellation that no canceller took care of, the first call is not an
    /// error but has no effect, because the operation could not know.
    ///
    /// ```
    /// use ropewalk_proto::{AlreadyCalled, Deferred};
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// let length = deferred.add_callback(str::len);
    /// assert_eq!(resolver.callback("rope"), Ok(()));
    /// assert_eq!(resolver.callback("again"), Err(AlreadyCalled));
    /// assert_eq!(length.try_result().unwrap().unwrap(), 4);
    /// ```
    pub fn callback(&self, value: T) -> Result<(), AlreadyCalled> {
        self.fire(Ok(value))
    }

    /// Fires with a failure, otherwise as [`Resolver::callback`].
    ///
    /// # Errors
    /// As for [`Resolver::callback`].
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::<u32>::new();
    /// resolver.errback(std::fmt::Error)?;
    /// assert_eq!(deferred.add_errback(|_| 0).try_result().unwrap().unwrap(), 0);
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    #[track_caller]
    pub fn errback(&self, failure: impl Into<Failure>) -> Result<(), AlreadyCalled> {
        self.fire(Err(failure.into()))
    }

    /// Fires with either: [`Resolver::callback`] or [`Resolver::errback`].
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, Failure};
    ///
    /// let (number, resolver) = Deferred::new();
    /// resolver.fire("17".parse::<u32>().map_err(Failure::from))?;
    /// assert_eq!(number.try_result().unwrap().unwrap(), 17);
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Resolver::callback`].
    pub fn fire(&self, result: Result<T, Failure>) -> Result<(), AlreadyCalled> {
        let next = self.source.fire(result)?;
        drive(next, self.source.clone());
        Ok(())
    }

    /// What to do when the Deferred is cancelled before it fired, in place of an earlier canceller.
    ///
    /// It stops the operation, and may fire the resolver that it gets; if it does not, the Deferred fails with
    /// [`Cancelled`](crate::Cancelled). It is dropped when the Deferred fires.
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// resolver.set_canceller(|resolver| resolver.callback("what has come so far").unwrap());
    /// deferred.cancel();
    /// assert_eq!(deferred.try_result().unwrap().unwrap(), "what has come so far");
    /// ```
    pub fn set_canceller(&self, canceller: impl FnOnce(&Resolver<T>) + 'static) {
        if !self.is_called() {
            self.source.canceller.set(Some(Box::new(canceller)));
        }
    }

    /// Whether it has fired.
    pub fn is_called(&self) -> bool {
        self.source.line().called.get()
    }

    /// Whether it was cancelled before it fired, so that an operation that cannot be stopped may skip the rest of its work.
    ///
    /// ```
    /// use ropewalk_proto::Deferred;
    ///
    /// let (deferred, resolver) = Deferred::<u32>::new();
    /// deferred.cancel();
    /// if !resolver.is_cancelled() {
    ///     unreachable!("the long computation is not begun");
    /// }
    /// assert_eq!(resolver.callback(1), Ok(())); // it could not know: no error, and no effect
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.source.line().cancelled.get()
    }

    /// Will fire with the result of `node`.
    pub(super) fn feed_from(self, node: &dyn Node<T>) {
        match node.outlet().replace(Outlet::Detached) {
            Outlet::Done(result) => drop(self.fire(result)),
            _ => node.outlet().set(Outlet::Linked(Rc::new(Feed { resolver: self, input: Cell::new(None) }))),
        }
    }
}

impl<T: 'static> Clone for Resolver<T> {
    fn clone(&self) -> Self {
        Resolver::new(self.source.clone())
    }
}

impl<T: 'static> Drop for Resolver<T> {
    fn drop(&mut self) {
        let left = self.source.resolvers.get() - 1;
        self.source.resolvers.set(left);
        if left == 0 && !self.is_called() {
            let failure = Failure::located(Box::new(Abandoned), self.source.made_at);
            let _ = self.fire(Err(failure));
        }
    }
}

impl<T: 'static> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("called", &self.is_called()).finish_non_exhaustive()
    }
}

/// The link from the end of one chain to the beginning of another.
struct Feed<T: 'static> {
    resolver: Resolver<T>,
    input: Cell<Option<Result<T, Failure>>>,
}

impl<T: 'static> Inlet<T> for Feed<T> {
    fn put(self: Rc<Self>, result: Result<T, Failure>) -> Rc<dyn Run> {
        self.input.set(Some(result));
        self
    }
}

impl<T: 'static> Run for Feed<T> {
    fn run(self: Rc<Self>, origin: &mut Rc<dyn Origin>) -> Option<Rc<dyn Run>> {
        *origin = self.resolver.source.clone();
        self.resolver.source.fire(self.input.take()?).ok().flatten()
    }
}
