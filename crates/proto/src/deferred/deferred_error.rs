//! The failure of an awaited Deferred, as an ordinary error.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

use super::failure::Failure;

/// The [`Failure`] of a [`Deferred`](crate::Deferred) that was awaited.
///
/// It is an [`Error`], so `?` converts it into a boxed error, into the error of a crate such as anyhow, into the
/// reactor's error, and back into a [`Failure`]. It dereferences to the failure, so [`check`](Failure::check) and
/// [`downcast_ref`](Failure::downcast_ref) examine the original error. Its message and sources are those of the
/// original error.
///
/// ```
/// use ropewalk_proto::{Deferred, DeferredError};
///
/// async fn doubled(number: Deferred<u32>) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
///     Ok(number.await? * 2)
/// }
///
/// async fn or_zero(number: Deferred<u32>) -> Result<u32, DeferredError> {
///     match number.await {
///         Err(error) if error.check::<std::num::ParseIntError>() => Ok(0),
///         result => result,
///     }
/// }
/// # let _ = (doubled(ropewalk_proto::succeed(1)), or_zero(ropewalk_proto::succeed(1)));
/// ```
pub struct DeferredError(Failure);

impl DeferredError {
    /// Returns the failure.
    ///
    /// ```
    /// use ropewalk_proto::{DeferredError, Failure};
    ///
    /// let error = DeferredError::from(Failure::new("no such name"));
    /// assert_eq!(error.to_string(), "no such name");
    /// let failure: Failure = error.into_failure();
    /// assert_eq!(failure.to_string(), "no such name");
    /// ```
    pub fn into_failure(self) -> Failure {
        self.0
    }
}

impl From<Failure> for DeferredError {
    fn from(failure: Failure) -> DeferredError {
        DeferredError(failure)
    }
}

impl Deref for DeferredError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl fmt::Display for DeferredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for DeferredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for DeferredError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.error().source()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::{Outcome, Panicked, maybe_deferred};

    fn sent<E: Error + Send + Sync + 'static>(error: E) -> E {
        error
    }

    #[test]
    fn an_awaited_failure_returns_to_a_failure_unchanged() {
        let original = Failure::from(io::Error::other("disk"));
        let place = original.location().clone();
        let failure = Failure::from(sent(DeferredError::from(original)));
        assert!(failure.check::<io::Error>());
        assert_eq!(failure.location(), &place);
        // Neither may a callback that returns the result of an await wrap the failure.
        let returned = |error: DeferredError| Err::<(), _>(error).into_deferred(std::panic::Location::caller());
        let returned = maybe_deferred(|| returned(failure.into())).try_result().unwrap().unwrap_err();
        assert!(returned.check::<io::Error>() && !returned.check::<Panicked>());
        assert_eq!(returned.location(), &place);
    }

    #[test]
    fn a_deferred_error_shows_the_text_of_its_error() {
        let error = DeferredError::from(Failure::from(io::Error::other(Failed)));
        assert_eq!((error.to_string(), format!("{error:#}")), ("failed".to_owned(), "failed".to_owned()));
        assert!(error.source().is_none());
        assert!(format!("{error:?}").contains(file!()));
    }

    #[derive(Debug)]
    struct Failed;

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("failed")
        }
    }

    impl Error for Failed {}
}
