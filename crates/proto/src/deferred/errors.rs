//! The errors of Deferreds themselves.

use std::error::Error;
use std::fmt;

use super::failure::Failure;

/// A resolver was fired, but its Deferred has fired already.
///
/// ```
/// use ropewalk_proto::{AlreadyCalled, Deferred};
///
/// let (_deferred, resolver) = Deferred::new();
/// resolver.callback(1)?;
/// assert_eq!(resolver.callback(2), Err(AlreadyCalled));
/// # Ok::<(), AlreadyCalled>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyCalled;

impl fmt::Display for AlreadyCalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred has fired already: fire a Deferred only once")
    }
}

impl Error for AlreadyCalled {}

/// The Deferred was cancelled before it had a result.
///
/// ```
/// use ropewalk_proto::{Cancelled, Deferred};
///
/// let (deferred, _resolver) = Deferred::<()>::new();
/// deferred.cancel();
/// assert!(deferred.try_result().unwrap().unwrap_err().check::<Cancelled>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred was cancelled")
    }
}

impl Error for Cancelled {}

/// The last [`Resolver`](crate::Resolver) was dropped without firing the Deferred.
///
/// ```
/// use ropewalk_proto::{Abandoned, Deferred};
///
/// let (deferred, resolver) = Deferred::<()>::new();
/// drop(resolver);
/// assert!(deferred.try_result().unwrap().unwrap_err().check::<Abandoned>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Deferred was abandoned: its resolver was dropped without firing it")
    }
}

impl Error for Abandoned {}

/// A callback returned a Deferred that waits for that callback.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use ropewalk_proto::{Deferred, WaitsForItself};
///
/// let end = Rc::new(Cell::new(None::<Deferred<()>>));
/// let knot = end.clone();
/// let (deferred, resolver) = Deferred::new();
/// let chain = deferred.and_then(move |()| knot.take().expect("the end of this chain"));
/// end.set(Some(chain.add_errback(|failure| assert!(failure.check::<WaitsForItself>()))));
/// resolver.callback(())?;
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitsForItself;

impl fmt::Display for WaitsForItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback returned its own Deferred, which would wait for itself: return another Deferred")
    }
}

impl Error for WaitsForItself {}

/// A callback panicked.
///
/// ```
/// use ropewalk_proto::{Panicked, succeed};
///
/// let broken = succeed(1).add_callback(|number| assert_eq!(number, 2, "numbers have changed"));
/// let failure = broken.try_result().unwrap().unwrap_err();
/// assert!(failure.downcast_ref::<Panicked>().unwrap().message().contains("numbers have changed"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: String,
}

impl Panicked {
    pub(super) fn new(message: &str) -> Panicked {
        Panicked { message: message.to_owned() }
    }

    /// Returns the message of the panic.
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

/// The first failure of several Deferreds.
///
/// ```
/// use ropewalk_proto::{FirstError, fail, gather_results, succeed};
///
/// let all = gather_results(vec![succeed(1), fail(std::fmt::Error)]);
/// let first = all.try_result().unwrap().unwrap_err().trap::<FirstError>().unwrap();
/// assert_eq!(first.index, 1);
/// assert!(first.failure.check::<std::fmt::Error>());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct FirstError {
    /// The failure.
    pub failure: Failure,
    /// The index of the failed Deferred, from 0.
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
