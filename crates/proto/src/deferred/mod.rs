//! Deferred results.
//!
//! A [`Deferred`] is a result that comes later. The caller of an operation adds callbacks to it, and each callback
//! turns the result into the next one. The operation keeps the [`Resolver`] and fires it. Everything happens on one
//! thread: callbacks run inside the call that fires, or, if the result is there already, inside the call that adds
//! them.
//!
//! ```
//! use ropewalk_proto::Deferred;
//!
//! let (deferred, resolver) = Deferred::new();
//! let port = deferred
//!     .add_callback(|line: &str| line.trim())
//!     .and_then(|text| text.parse::<u16>())
//!     .add_errback(|_failure| 8000);
//! resolver.callback(" not a number ")?;
//! assert_eq!(port.try_result().unwrap().unwrap(), 8000);
//! # Ok::<(), ropewalk_proto::AlreadyCalled>(())
//! ```
//!
//! | the callback gets | and returns a plain value | and returns a `Result` or a `Deferred` |
//! |---|---|---|
//! | the value | [`add_callback`](Deferred::add_callback) | [`and_then`](Deferred::and_then) |
//! | the failure | [`add_errback`](Deferred::add_errback) | [`or_else`](Deferred::or_else) |
//! | either | [`add_both`](Deferred::add_both) | [`then`](Deferred::then) |
//!
//! A Deferred is also a [`Future`]. A failure that no callback handles is logged.
//!
//! Source: `twisted.internet.defer`. Twisted keeps one Deferred, whose result changes its type along the chain. Here
//! each step returns a new Deferred.

mod callback;
mod chain;
mod deferred_error;
mod errors;
mod failure;
mod future;
#[cfg(test)]
mod laws;
mod list;
mod pause;
mod queue;
mod race;
mod semaphore;
mod source;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

pub use deferred_error::DeferredError;
pub use errors::{Abandoned, AlreadyCalled, Cancelled, FirstError, Panicked, WaitsForItself};
pub use failure::Failure;
pub use list::{DeferredList, FirstOrAll, gather_results};
pub use pause::Pause;
pub use queue::{DeferredQueue, QueueOverflow, QueueUnderflow};
pub use race::{FailureGroup, race};
pub use semaphore::{DeferredLock, DeferredSemaphore, Permit};
pub use source::Resolver;

use callback::{Callback, caught, guarded};
use chain::{Chain, Output, Pending, State, cancel, fill, report_unhandled};
use source::Source;

/// A result that may come later: a value of type `T` or a [`Failure`].
///
/// Dropping a Deferred stops nothing, unless it was polled as a [`Future`]. The callbacks added so far still run. A
/// failure that reaches a dropped Deferred is logged, except [`Abandoned`]. A Deferred cannot be sent to another
/// thread. Its methods may be called from any callback.
///
/// ```
/// use ropewalk_proto::Deferred;
///
/// let (deferred, resolver) = Deferred::new();
/// let doubled = deferred.add_callback(|number: u32| number * 2);
/// assert!(!doubled.is_done());
/// resolver.callback(21)?; // runs the callbacks
/// assert_eq!(doubled.try_result().unwrap().unwrap(), 42);
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
pub struct Deferred<T: 'static> {
    /// `None` when a method that consumes the Deferred, or `await`, has taken the result.
    state: Option<State<T>>,
}

impl<T: 'static> Deferred<T> {
    /// Creates a Deferred and the resolver that fires it.
    #[track_caller]
    pub fn new() -> (Deferred<T>, Resolver<T>) {
        let source = Source::new(Location::caller());
        let resolver = Resolver::new(source.clone());
        let pending = Pending { node: source.clone(), chain: source };
        (State::Pending(pending).into(), resolver)
    }

    /// Creates a Deferred with a canceller, and its resolver.
    ///
    /// See [`Resolver::set_canceller`].
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use ropewalk_proto::{Cancelled, Deferred};
    ///
    /// let stopped = Rc::new(Cell::new(false));
    /// let flag = stopped.clone();
    /// let (deferred, _resolver) = Deferred::<u32>::with_canceller(move |_| flag.set(true));
    /// deferred.cancel();
    /// assert!(stopped.get());
    /// assert!(deferred.try_result().unwrap().unwrap_err().check::<Cancelled>());
    /// ```
    #[track_caller]
    pub fn with_canceller(canceller: impl FnOnce(&Resolver<T>) + 'static) -> (Deferred<T>, Resolver<T>) {
        let (deferred, resolver) = Deferred::new();
        resolver.set_canceller(canceller);
        (deferred, resolver)
    }

    /// Turns a value into another value. A failure is passed on.
    ///
    /// ```
    /// use ropewalk_proto::succeed;
    ///
    /// let length = succeed("rope").add_callback(|text| text.len());
    /// assert_eq!(length.try_result().unwrap().unwrap(), 4);
    /// ```
    #[track_caller]
    pub fn add_callback<U>(self, callback: impl FnOnce(T) -> U + 'static) -> Deferred<U> {
        self.link(|result| State::Done(result.map(callback)))
    }

    /// Turns a failure into a value. A value is passed on.
    ///
    /// ```
    /// use ropewalk_proto::fail;
    ///
    /// let number = fail(std::fmt::Error).add_errback(|failure| failure.to_string().len());
    /// assert!(number.try_result().unwrap().is_ok());
    /// ```
    #[track_caller]
    pub fn add_errback(self, errback: impl FnOnce(Failure) -> T + 'static) -> Deferred<T> {
        self.link(|result| State::Done(Ok(result.unwrap_or_else(errback))))
    }

    /// Turns a value or a failure into a value.
    ///
    /// ```
    /// use ropewalk_proto::succeed;
    ///
    /// let is_fine = succeed(7).add_both(|result| result.is_ok());
    /// assert!(is_fine.try_result().unwrap().unwrap());
    /// ```
    #[track_caller]
    pub fn add_both<U>(self, callback: impl FnOnce(Result<T, Failure>) -> U + 'static) -> Deferred<U> {
        self.link(|result| State::Done(Ok(callback(result))))
    }

    /// Turns a value into another value with `callback`, or a failure into a value with `errback`.
    ///
    /// A panic in `callback` is not passed to `errback`.
    ///
    /// ```
    /// use ropewalk_proto::succeed;
    ///
    /// let text = succeed(7).add_callbacks(|number| number.to_string(), |failure| format!("{failure:#}"));
    /// assert_eq!(text.try_result().unwrap().unwrap(), "7");
    /// ```
    #[track_caller]
    pub fn add_callbacks<U>(
        self,
        callback: impl FnOnce(T) -> U + 'static,
        errback: impl FnOnce(Failure) -> U + 'static,
    ) -> Deferred<U> {
        self.link(|result| State::Done(Ok(result.map_or_else(errback, callback))))
    }

    /// Turns a value into a `Result` or a Deferred, and waits for that Deferred. A failure is passed on.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, succeed};
    ///
    /// fn resolve(name: &str) -> Deferred<[u8; 4]> {
    ///     succeed([127, 0, 0, 1])
    /// }
    ///
    /// let address = succeed("localhost").and_then(resolve);
    /// assert_eq!(address.try_result().unwrap().unwrap(), [127, 0, 0, 1]);
    /// let number = succeed("x").and_then(str::parse::<u32>);
    /// assert!(number.try_result().unwrap().is_err());
    /// ```
    #[track_caller]
    pub fn and_then<R: Outcome>(self, callback: impl FnOnce(T) -> R + 'static) -> Deferred<R::Value> {
        let at = Location::caller();
        self.link(move |result| match result {
            Ok(value) => callback(value).into_deferred(at).into_state(),
            Err(failure) => State::Done(Err(failure)),
        })
    }

    /// Turns a failure into a `Result` or a Deferred, and waits for that Deferred. A value is passed on.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, fail};
    ///
    /// let result = fail::<u32>(std::fmt::Error).or_else(|failure| {
    ///     let error = failure.trap::<std::io::Error>()?; // any other failure is passed to the next errback
    ///     Ok::<_, Failure>(error.raw_os_error().unwrap_or(0) as u32)
    /// });
    /// assert!(result.try_result().unwrap().unwrap_err().check::<std::fmt::Error>());
    /// ```
    #[track_caller]
    pub fn or_else<R: Outcome<Value = T>>(self, errback: impl FnOnce(Failure) -> R + 'static) -> Deferred<T> {
        let at = Location::caller();
        self.link(move |result| match result {
            Ok(value) => State::Done(Ok(value)),
            Err(failure) => errback(failure).into_deferred(at).into_state(),
        })
    }

    /// Turns a value or a failure into a `Result` or a Deferred, and waits for that Deferred.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, succeed};
    ///
    /// let logged = succeed(7).then(|result: Result<i32, Failure>| result.inspect_err(|failure| drop(failure)));
    /// assert_eq!(logged.try_result().unwrap().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn then<R: Outcome>(self, callback: impl FnOnce(Result<T, Failure>) -> R + 'static) -> Deferred<R::Value> {
        let at = Location::caller();
        self.link(move |result| callback(result).into_deferred(at).into_state())
    }

    /// Fires `resolver` with the result. If `resolver` has fired by then, the result is ignored.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, succeed};
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// succeed(7).chain(resolver);
    /// assert_eq!(deferred.try_result().unwrap().unwrap(), 7);
    /// ```
    pub fn chain(self, resolver: Resolver<T>) {
        match self.into_state() {
            State::Done(result) => drop(resolver.fire(result)),
            State::Pending(pending) => resolver.fire_from(&*pending.node),
        }
    }

    /// Cancels the operation behind the result.
    ///
    /// If the chain has not fired, its canceller is called (see [`Resolver::set_canceller`]). If the canceller does not
    /// fire the chain, the chain fails with [`Cancelled`]. If the chain waits for a Deferred that a callback returned,
    /// that Deferred is cancelled. If the result is there, this has no effect. May be called from any callback.
    #[track_caller]
    pub fn cancel(&self) {
        if let Some(State::Pending(pending)) = &self.state {
            cancel(pending.chain.clone(), Location::caller());
        }
    }

    /// Returns a handle that can cancel the Deferred after it was moved, for a timeout for example.
    ///
    /// ```
    /// use ropewalk_proto::{Cancelled, Deferred};
    ///
    /// let (deferred, _resolver) = Deferred::<u32>::new();
    /// let timeout = deferred.cancel_handle();
    /// let outcome = deferred.add_errback(|failure| if failure.check::<Cancelled>() { 0 } else { 1 });
    /// timeout.cancel();
    /// assert_eq!(outcome.try_result().unwrap().unwrap(), 0);
    /// ```
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            chain: match &self.state {
                Some(State::Pending(pending)) => Some(pending.chain.clone()),
                _ => None,
            },
        }
    }

    /// Returns whether the result is there, so that all callbacks added so far have run.
    pub fn is_done(&self) -> bool {
        match &self.state {
            Some(State::Pending(Pending { node, .. })) => {
                let output = node.output().replace(Output::Open);
                let is_done = matches!(output, Output::Done(_));
                node.output().set(output);
                is_done
            }
            _ => true,
        }
    }

    /// Returns the result, if it is there.
    ///
    /// # Errors
    /// The Deferred itself, if the result has not come.
    ///
    /// # Panics
    /// If the result was taken by `await`. Every method that consumes a Deferred panics then.
    pub fn try_result(self) -> Result<Result<T, Failure>, Deferred<T>> {
        let pending = match self.into_state() {
            State::Done(result) => return Ok(result),
            State::Pending(pending) => pending,
        };
        match pending.node.output().replace(Output::Detached) {
            Output::Done(result) => Ok(result),
            waiting => {
                pending.node.output().set(waiting);
                Err(State::Pending(pending).into())
            }
        }
    }

    /// Adds a callback of the general form. All other methods that add callbacks call this one.
    #[inline]
    #[track_caller]
    fn link<U>(self, function: impl FnOnce(Result<T, Failure>) -> State<U> + 'static) -> Deferred<U> {
        let at = Location::caller();
        let Pending { node, chain } = match self.into_state() {
            State::Done(result) => return guarded(function, result, at).into(),
            State::Pending(pending) => pending,
        };
        match node.output().replace(Output::Detached) {
            Output::Done(result) => {
                let next = guarded(function, result, at);
                if let State::Pending(inner) = &next {
                    chain.state().wait_for(inner.chain.clone());
                }
                return next.into();
            }
            // `Open` holds nothing to drop (see `fill`).
            open @ Output::Open => std::mem::forget(open),
            _ => {}
        }
        let callback = Rc::new(Callback::new(function, at));
        fill(node.output(), Output::Linked(callback.clone()));
        State::Pending(Pending { node: callback, chain }).into()
    }

    #[inline]
    fn into_state(mut self) -> State<T> {
        let state = self.state.take();
        // Nothing is left to drop. If `self` is forgotten before anything can unwind, it need not be kept in memory.
        std::mem::forget(self);
        state.expect("a Deferred whose result has not been awaited")
    }
}

impl<T: 'static> From<State<T>> for Deferred<T> {
    #[inline]
    fn from(state: State<T>) -> Deferred<T> {
        Deferred { state: Some(state) }
    }
}

impl<T: 'static> From<Result<T, Failure>> for Deferred<T> {
    #[inline]
    fn from(result: Result<T, Failure>) -> Deferred<T> {
        State::Done(result).into()
    }
}

impl<T: 'static> Drop for Deferred<T> {
    #[inline]
    fn drop(&mut self) {
        match self.state.take() {
            Some(State::Done(result)) => report_unhandled(result),
            Some(State::Pending(pending)) => match pending.node.output().replace(Output::Detached) {
                Output::Done(result) => report_unhandled(result),
                Output::Awaited(_) => pending.give_up(),
                _ => {}
            },
            None => {}
        }
    }
}

impl<T: 'static> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

/// A handle that cancels a Deferred. See [`Deferred::cancel_handle`].
///
/// ```
/// use ropewalk_proto::{Cancelled, Deferred};
///
/// let (deferred, _resolver) = Deferred::<u32>::new();
/// let give_up = deferred.cancel_handle(); // for a button, for example
/// let answer = deferred.add_callback(|number| number + 1); // consumes the Deferred
/// give_up.cancel();
/// assert!(answer.try_result().unwrap().unwrap_err().check::<Cancelled>());
/// ```
#[derive(Clone)]
pub struct CancelHandle {
    chain: Option<Rc<dyn Chain>>,
}

impl CancelHandle {
    /// Cancels the Deferred. See [`Deferred::cancel`].
    ///
    /// If the result is there, this has no effect. May be called from any callback.
    #[track_caller]
    pub fn cancel(&self) {
        self.cancel_at(Location::caller());
    }

    fn cancel_at(&self, at: &'static Location<'static>) {
        if let Some(chain) = &self.chain {
            cancel(chain.clone(), at);
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").finish_non_exhaustive()
    }
}

/// A return value of a callback other than a plain value: a `Result` with any error that is `Send` and `Sync`, a
/// [`Deferred`], or `()`.
///
/// ```
/// use ropewalk_proto::{Deferred, Failure, Outcome, maybe_deferred};
///
/// /// Doubles the outcome of `work`, which may come later.
/// fn twice<R: Outcome<Value = u32>>(work: impl FnOnce() -> R) -> Deferred<u32> {
///     maybe_deferred(work).add_callback(|number| number * 2)
/// }
///
/// assert_eq!(twice(|| Ok::<_, Failure>(4)).try_result().unwrap().unwrap(), 8);
/// assert_eq!(twice(|| ropewalk_proto::succeed(5)).try_result().unwrap().unwrap(), 10);
/// ```
pub trait Outcome {
    /// The type of the value on success.
    type Value: 'static;

    /// Converts the outcome into a Deferred.
    ///
    /// `at` is where the callback was added. It becomes the location of a failure that has no location of its own.
    ///
    /// ```
    /// use std::panic::Location;
    /// use ropewalk_proto::Outcome;
    ///
    /// let deferred = "x".parse::<u32>().into_deferred(Location::caller());
    /// assert!(deferred.try_result().unwrap().unwrap_err().check::<std::num::ParseIntError>());
    /// ```
    fn into_deferred(self, at: &'static Location<'static>) -> Deferred<Self::Value>;
}

impl<T: 'static, E: Error + Send + Sync + 'static> Outcome for Result<T, E> {
    type Value = T;

    fn into_deferred(self, at: &'static Location<'static>) -> Deferred<T> {
        self.map_err(|error| Failure::located(Box::new(error), at)).into()
    }
}

impl<T: 'static> Outcome for Result<T, Failure> {
    type Value = T;

    fn into_deferred(self, _: &'static Location<'static>) -> Deferred<T> {
        self.into()
    }
}

impl<T: 'static> Outcome for Deferred<T> {
    type Value = T;

    fn into_deferred(self, _: &'static Location<'static>) -> Deferred<T> {
        self
    }
}

impl Outcome for () {
    type Value = ();

    fn into_deferred(self, _: &'static Location<'static>) -> Deferred<()> {
        succeed(())
    }
}

/// Calls `call` and returns its outcome as a Deferred. A panic in `call` becomes a failure.
///
/// Source: `maybeDeferred` of `twisted.internet.defer`.
///
/// `call` runs before this function returns, on the calling thread.
///
/// ```
/// use ropewalk_proto::{Panicked, maybe_deferred, succeed};
///
/// assert!(maybe_deferred(|| "7".parse::<u32>()).is_done());
/// assert!(maybe_deferred(|| succeed(7)).is_done());
/// let panicked = maybe_deferred(|| -> Result<u32, Panicked> { panic!("no answer") });
/// assert!(panicked.try_result().unwrap().unwrap_err().check::<Panicked>());
/// ```
#[track_caller]
pub fn maybe_deferred<R: Outcome>(call: impl FnOnce() -> R) -> Deferred<R::Value> {
    let at = Location::caller();
    caught(|| call().into_deferred(at), at).unwrap_or_else(|failure| Err(failure).into())
}

/// Returns a Deferred that has a value already.
///
/// ```
/// assert!(ropewalk_proto::succeed(7).is_done());
/// ```
pub fn succeed<T>(value: T) -> Deferred<T> {
    Ok(value).into()
}

/// Returns a Deferred that has failed already.
///
/// ```
/// let failed = ropewalk_proto::fail::<u32>(std::fmt::Error);
/// assert!(failed.try_result().unwrap().is_err());
/// ```
#[track_caller]
pub fn fail<T>(error: impl Into<Failure>) -> Deferred<T> {
    Err(error.into()).into()
}
