//! The error of a Deferred.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::deferred_error::DeferredError;
use crate::panics::Place;

/// An error of any type, with the source location where it entered a [`Deferred`](crate::Deferred).
///
/// Every error converts into a failure, so `?` works in callbacks. `{failure}` shows the error, and `{failure:#}` also
/// shows its sources. A failure is not an [`Error`], because then not every error could convert into it. But it
/// converts into a boxed error, and an awaited Deferred returns it as a [`DeferredError`].
///
/// Source: `twisted.python.failure.Failure`.
///
/// ```
/// use ropewalk_proto::Failure;
///
/// let failure = Failure::from("x".parse::<u32>().unwrap_err());
/// assert!(failure.check::<std::num::ParseIntError>());
/// assert_eq!(failure.to_string(), "invalid digit found in string");
/// assert!(failure.location().file().ends_with(".rs"));
/// ```
pub struct Failure(Box<Body>);

/// Boxed, so that a `Result` with a `Failure` stays small.
struct Body {
    error: Box<dyn Error + Send + Sync>,
    location: Place,
    logged: bool,
}

impl Failure {
    /// Creates a failure from an error or a text. Its location is the caller's.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, fail};
    ///
    /// let failed = fail::<u32>(Failure::new("no such name"));
    /// assert_eq!(failed.try_result().unwrap().unwrap_err().error().to_string(), "no such name");
    /// ```
    #[track_caller]
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::located(error.into(), Location::caller())
    }

    /// Creates a failure from an error. The error of an awaited Deferred becomes the original failure again, which gets
    /// a location if it had none.
    pub(super) fn located(error: Box<dyn Error + Send + Sync>, location: impl Into<Place>) -> Failure {
        match error.downcast::<DeferredError>() {
            Ok(awaited) => {
                let mut failure = awaited.into_failure();
                if failure.0.location.is_in_std() {
                    failure.0.location = location.into();
                }
                failure
            }
            Err(error) => Failure(Box::new(Body { error, location: location.into(), logged: false })),
        }
    }

    /// Marks the failure as logged, so that a [`Deferred`](crate::Deferred) does not log it as unhandled.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, fail};
    ///
    /// eprintln!("the disk is full"); // in a program: tracing::error!
    /// drop(fail::<()>(Failure::new("the disk is full").logged())); // not logged a second time
    /// ```
    #[must_use]
    pub fn logged(mut self) -> Failure {
        self.0.logged = true;
        self
    }

    pub(super) fn is_logged(&self) -> bool {
        self.0.logged
    }

    /// Returns whether the error is an `E`.
    pub fn check<E: Error + 'static>(&self) -> bool {
        self.0.error.is::<E>()
    }

    /// Returns the error if it is an `E`.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk_proto::Failure;
    ///
    /// let failure = Failure::from(io::Error::from(io::ErrorKind::NotFound));
    /// assert_eq!(failure.downcast_ref().map(io::Error::kind), Some(io::ErrorKind::NotFound));
    /// assert!(failure.downcast_ref::<std::fmt::Error>().is_none());
    /// ```
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.error.downcast_ref()
    }

    /// Converts the failure into its error, if that is an `E`.
    ///
    /// # Errors
    /// The failure itself if its error has another type. Return it from an errback to pass it on.
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use ropewalk_proto::{Failure, fail};
    ///
    /// fn zero_when_not_a_number(failure: Failure) -> Result<u32, Failure> {
    ///     failure.trap::<ParseIntError>()?;
    ///     Ok(0)
    /// }
    ///
    /// let number = fail::<u32>("x".parse::<u32>().unwrap_err()).or_else(zero_when_not_a_number);
    /// assert_eq!(number.try_result().unwrap().unwrap(), 0);
    /// ```
    pub fn trap<E: Error + 'static>(self) -> Result<E, Failure> {
        let Body { error, location, logged } = *self.0;
        error.downcast().map(|error| *error).map_err(|error| Failure(Box::new(Body { error, location, logged })))
    }

    /// Returns the error.
    pub fn error(&self) -> &(dyn Error + 'static) {
        &*self.0.error
    }

    /// Returns the causes of the error, the nearest first.
    ///
    /// ```
    /// use ropewalk_proto::{Failure, FirstError, fail, gather_results};
    ///
    /// let failure = gather_results(vec![fail::<()>(std::fmt::Error)]).try_result().unwrap().unwrap_err();
    /// assert!(failure.check::<FirstError>());
    /// assert!(failure.sources().any(|cause| cause.is::<std::fmt::Error>()));
    /// ```
    pub fn sources(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        std::iter::successors(self.0.error.source(), |&error| error.source())
    }

    /// Returns the source location where the failure was created. For a panic, this is where the panic began.
    ///
    /// ```
    /// use ropewalk_proto::panics::locate_panics;
    /// use ropewalk_proto::succeed;
    ///
    /// locate_panics(); // also called when a reactor is created
    /// let broken = succeed(1).add_callback(|number| {
    ///     assert_eq!(number, 2); // the line of the failure
    /// });
    /// let failure = broken.try_result().unwrap().unwrap_err();
    /// assert_eq!(failure.location().line(), line!() - 3);
    /// ```
    pub fn location(&self) -> &Place {
        &self.0.location
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Failure {
        Failure::located(Box::new(error), Location::caller())
    }
}

impl From<Failure> for Box<dyn Error> {
    fn from(failure: Failure) -> Self {
        failure.0.error
    }
}

impl From<Failure> for Box<dyn Error + Send + Sync> {
    fn from(failure: Failure) -> Self {
        failure.0.error
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.error)?;
        if f.alternate() {
            self.sources().try_for_each(|source| write!(f, ": {source}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors that the reactor itself converts, with `map_err(Into::into)`, have no place in a program.
        match self.0.location.is_in_std() {
            true => write!(f, "Failure({:?})", self.0.error),
            false => write!(f, "Failure({:?} at {})", self.0.error, self.0.location),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_alternate_format_shows_the_sources() {
        let failure = Failure::from(Outer(io::Error::other("inner")));
        assert_eq!(format!("{failure}"), "outer");
        assert_eq!(format!("{failure:#}"), "outer: inner");
    }

    #[test]
    fn a_failure_keeps_the_line_that_created_it() {
        fn question_mark() -> Result<(), Failure> {
            Err(fmt::Error)?;
            Ok(())
        }
        let here = line!();
        let made = [Failure::from(fmt::Error), Failure::new("text"), fmt::Error.into(), question_mark().unwrap_err()];
        let lines = made.each_ref().map(|failure| failure.location().line());
        assert_eq!(lines, [here + 1, here + 1, here + 1, here - 3]);
        assert!(made.iter().all(|failure| failure.location().file() == file!()));
    }

    /// The reactor converts its own errors with `map_err(Into::into)`, whose place is in the standard library.
    #[test]
    fn a_failure_without_a_place_gets_that_of_the_question_mark() {
        let converted = || [fmt::Error].map(Failure::from).into_iter().next().unwrap();
        assert!(converted().location().is_in_std());
        assert_eq!(format!("{:?}", converted()), "Failure(Error)");
        fn awaited(failure: Failure) -> Result<(), Failure> {
            Err(DeferredError::from(failure))?;
            Ok(())
        }
        let (failure, line) = (awaited(converted()).unwrap_err(), line!() - 3);
        assert_eq!((failure.location().file(), failure.location().line()), (file!(), line));
        assert!(format!("{failure:?}").contains(file!()));
    }

    #[test]
    fn a_trap_of_another_type_returns_the_failure_unchanged() {
        let failure = Failure::new("text");
        let location = failure.location().clone();
        let failure = failure.trap::<fmt::Error>().unwrap_err();
        assert_eq!((failure.to_string().as_str(), failure.location()), ("text", &location));
        assert!(Failure::from(fmt::Error).trap::<fmt::Error>().is_ok());
    }

    #[test]
    fn a_failure_converts_into_a_boxed_error() {
        let error: Box<dyn Error> = Failure::from(fmt::Error).into();
        assert!(error.is::<fmt::Error>());
    }
}
