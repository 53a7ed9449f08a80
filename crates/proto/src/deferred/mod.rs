//! Results that are not there yet.
//!
//! A [`Deferred`] stands for one. Whoever waits adds callbacks, each of which turns the result into the next one; whoever
//! produces it holds the [`Resolver`] and fires it. Everything happens on one thread and at once: callbacks run inside
//! the call that fires, or inside the call that adds them if the result is there already.
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
//! A Deferred is also a [`Future`], and an error that nobody looks at is logged. The source is Twisted's
//! `internet/defer.py`, whose one Deferred changes the type of its result along the chain; here each step is a new one.

mod callback;
mod chain;
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

pub use errors::{Abandoned, AlreadyCalled, Cancelled, FirstError, Panicked, WaitsForItself};
pub use failure::Failure;
pub use list::{DeferredList, FirstOrAll, gather_results};
pub use pause::Pause;
pub use queue::{DeferredQueue, QueueOverflow, QueueUnderflow};
pub use race::{FailureGroup, race};
pub use semaphore::{DeferredLock, DeferredSemaphore, Permit};
pub use source::Resolver;

use callback::{Callback, caught, guarded};
use chain::{Chain, Output, Pending, State, cancel, fill, report};
use source::Source;

/// A result that may not be there yet: a value of type `T` or a [`Failure`].
///
/// Dropping it does not stop anything: callbacks added so far will run. A failure that it holds, or that comes later, is
/// logged then, unless it is only that nobody can fire it any more ([`Abandoned`]). It stays on its thread; its methods may be called from any callback.
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
    /// A Deferred and the resolver that fires it.
    #[track_caller]
    pub fn new() -> (Deferred<T>, Resolver<T>) {
        let source = Source::new(Location::caller());
        let resolver = Resolver::new(source.clone());
        let pending = Pending { node: source.clone(), chain: source };
        (State::Pending(pending).into(), resolver)
    }

    /// As [`Deferred::new`], with what to do when it is cancelled; see [`Resolver::set_canceller`].
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

    /// Turns a value into the next one; a failure passes by.
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

    /// Turns a failure into a value; a value passes by.
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

    /// Turns the result, whichever it is, into a value.
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

    /// Turns a value into a value by `callback`, or a failure by `errback`, which does not see a failure of `callback`.
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

    /// Turns a value into a `Result`, or into a Deferred that is then waited for; a failure passes by.
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

    /// Turns a failure into a `Result`, or into a Deferred that is then waited for; a value passes by.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, fail};
    ///
    /// let result = fail::<u32>(std::fmt::Error).or_else(|failure| {
    ///     let error = failure.trap::<std::io::Error>()?; // any other failure goes on to the next errback
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

    /// Turns the result, whichever it is, into a `Result`, or into a Deferred that is then waited for.
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

    /// Fires `resolver` with the result; has no effect if that one has fired by then.
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

    /// Stops the operation behind the result, if that is still outstanding.
    ///
    /// Before the chain has fired, its canceller is called ([`Resolver::set_canceller`]), and unless that fires it, it
    /// fails with [`Cancelled`]. While it waits for a Deferred that a callback returned, that one is cancelled. A result
    /// that is there stays as it is. May be called from a callback.
    #[track_caller]
    pub fn cancel(&self) {
        if let Some(State::Pending(pending)) = &self.state {
            cancel(pending.chain.clone(), Location::caller());
        }
    }

    /// What can cancel the chain while the Deferred itself is elsewhere: a timeout, say.
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

    /// Whether the result is there: all callbacks added so far have run.
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

    /// The result, if it is there.
    ///
    /// # Errors
    /// The Deferred itself while it is still waiting.
    ///
    /// # Panics
    /// When the result has been awaited already, as every method that consumes the Deferred does.
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

    /// Adds a callback of the general kind: what all the others come down to.
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
            // Nothing to drop; see `fill`.
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
        // Nothing is left to drop. Said before anything can unwind, the compiler need not keep it in memory.
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
            Some(State::Done(result)) => report(result),
            Some(State::Pending(pending)) => match pending.node.output().replace(Output::Detached) {
                Output::Done(result) => report(result),
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

/// Cancels a Deferred from afar; see [`Deferred::cancel_handle`].
///
/// ```
/// use ropewalk_proto::{Cancelled, Deferred};
///
/// let (deferred, _resolver) = Deferred::<u32>::new();
/// let give_up = deferred.cancel_handle(); // for a button, say
/// let answer = deferred.add_callback(|number| number + 1); // takes the Deferred away
/// give_up.cancel();
/// assert!(answer.try_result().unwrap().unwrap_err().check::<Cancelled>());
/// ```
#[derive(Clone)]
pub struct CancelHandle {
    chain: Option<Rc<dyn Chain>>,
}

impl CancelHandle {
    /// As [`Deferred::cancel`]; has no effect when the result is there already.
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

/// What a callback may return besides a plain value: a `Result` with any error, a [`Deferred`], or nothing.
///
/// ```
/// use ropewalk_proto::{Deferred, Failure, Outcome, maybe_deferred};
///
/// /// Does what it is told, whether the answer is there or not.
/// fn twice<R: Outcome<Value = u32>>(work: impl FnOnce() -> R) -> Deferred<u32> {
///     maybe_deferred(work).add_callback(|number| number * 2)
/// }
///
/// assert_eq!(twice(|| Ok::<_, Failure>(4)).try_result().unwrap().unwrap(), 8);
/// assert_eq!(twice(|| ropewalk_proto::succeed(5)).try_result().unwrap().unwrap(), 10);
/// ```
pub trait Outcome {
    /// What it is when all goes well.
    type Value: 'static;

    /// The same as a Deferred.
    ///
    /// `at` is where the callback was added: the location of a failure that does not know a better one.
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

impl<T: 'static, E: Error + 'static> Outcome for Result<T, E> {
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

/// The outcome of `call`, whichever kind it has, as a Deferred; a panic in it is a failure.
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

/// A Deferred that has its value already.
///
/// ```
/// assert!(ropewalk_proto::succeed(7).is_done());
/// ```
pub fn succeed<T>(value: T) -> Deferred<T> {
    Ok(value).into()
}

/// A Deferred that has failed already.
///
/// ```
/// let failed = ropewalk_proto::fail::<u32>(std::fmt::Error);
/// assert!(failed.try_result().unwrap().is_err());
/// ```
#[track_caller]
pub fn fail<T>(error: impl Into<Failure>) -> Deferred<T> {
    Err(error.into()).into()
}
