//! Panics that were caught: their message, and the place in the source where they began.
//!
//! Only the panic hook gets the place. [`locate_panics`] installs a hook that keeps the place for the thread, and then
//! calls the previous hook.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// The place of the thread's latest panic, until it is caught.
    static LATEST: Cell<Option<Place>> = const { Cell::new(None) };
}

/// A place in the source code.
///
/// A plain value, which any thread may use.
///
/// ```
/// use std::panic::Location;
/// use ropewalk_proto::panics::Place;
///
/// let here = Place::from(Location::caller());
/// assert!(here.file().ends_with(".rs") && here.line() > 0);
/// assert_eq!(here.to_string(), format!("{}:{}:{}", here.file(), here.line(), here.column()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Cow<'static, str>,
    line: u32,
    column: u32,
}

impl Place {
    /// Returns the path of the file, as the compiler was given it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the number of the line. The first is 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the number of the column. The first is 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// Returns whether the place is in the standard library, and so not in a user's code.
    pub(crate) fn is_in_std(&self) -> bool {
        // The second form is that of a toolchain with the component rust-src.
        self.file.starts_with("/rustc/") || self.file.contains("rustlib/src/rust")
    }
}

impl From<&'static Location<'static>> for Place {
    fn from(location: &'static Location<'static>) -> Place {
        Place { file: Cow::Borrowed(location.file()), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Installs a panic hook that keeps the place of each panic for [`catch`]. Further calls have no effect.
///
/// The new hook calls the previous hook, so the output of a panic stays the same. A hook that is installed later should
/// call [`remember`]. Creating a reactor calls this function. May be called from any thread.
///
/// ```
/// use ropewalk_proto::panics::{catch, locate_panics};
///
/// locate_panics();
/// let panic = catch(|| panic!("a bug")).unwrap_err();
/// assert!(panic.place().expect("the hook was called").file().ends_with(".rs"));
/// ```
pub fn locate_panics() {
    static INSTALLED: Once = Once::new();
    // A thread that panics must not change the hook.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            remember(panic);
            previous(panic);
        }));
    });
}

/// Keeps the place of a panic for [`catch`]. For panic hooks that do not call the previous hook.
///
/// ```
/// use ropewalk_proto::panics::{catch, remember};
///
/// std::panic::set_hook(Box::new(|panic| {
///     remember(panic);
///     eprintln!("{panic}");
/// }));
/// assert!(catch(|| panic!("a bug")).unwrap_err().place().is_some());
/// ```
pub fn remember(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(|location| Place {
        file: Cow::Owned(location.file().to_owned()),
        line: location.line(),
        column: location.column(),
    });
    // If the thread is ending, its variables may have been dropped.
    let _ = LATEST.try_with(|latest| latest.set(place));
}

/// Runs `code`, and returns its result or its panic.
///
/// Unwind safety is up to the caller: values that `code` changes may be left half changed.
///
/// `code` runs at once, on the calling thread. It may call this function again.
///
/// # Errors
/// The panic.
///
/// ```
/// use ropewalk_proto::panics::catch;
///
/// assert_eq!(catch(|| 42).unwrap(), 42);
/// assert_eq!(catch(|| panic!("bug {}", 7)).unwrap_err().message(), "bug 7");
/// ```
#[inline]
pub fn catch<R>(code: impl FnOnce() -> R) -> Result<R, CaughtPanic> {
    panic::catch_unwind(AssertUnwindSafe(code)).map_err(CaughtPanic::new)
}

/// A panic that was caught.
///
/// Its payload may be a value whose destructor panics. That second panic is caught as well, and dropped.
///
/// May be sent to another thread.
///
/// ```
/// use ropewalk_proto::panics::{CaughtPanic, catch};
///
/// fn report(panic: &CaughtPanic) {
///     match panic.place() {
///         Some(place) => eprintln!("{} at {place}", panic.message()),
///         None => eprintln!("{}", panic.message()),
///     }
/// }
///
/// let panic = catch(|| panic!("a bug")).unwrap_err();
/// report(&panic);
/// assert_eq!(catch(|| panic.resume()).unwrap_err().message(), "a bug");
/// ```
#[must_use]
pub struct CaughtPanic {
    /// Present until it is resumed or dropped.
    payload: Option<Box<dyn Any + Send>>,
    place: Option<Place>,
}

/// The text for a payload that is not a text.
const NO_MESSAGE: &str = "(no message)";

/// Returns the text that a panic was begun with, or `(no message)` for another value.
///
/// ```
/// use ropewalk_proto::panics::payload_message;
///
/// std::panic::set_hook(Box::new(|panic| println!("panicked: {}", payload_message(panic.payload()))));
/// let payload = std::panic::catch_unwind(|| panic!("no more {}", "tea")).unwrap_err();
/// assert_eq!(payload_message(&*payload), "no more tea");
/// ```
pub fn payload_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref().map(String::as_str)).unwrap_or(NO_MESSAGE)
}

impl CaughtPanic {
    #[cold]
    fn new(payload: Box<dyn Any + Send>) -> CaughtPanic {
        CaughtPanic { payload: Some(payload), place: LATEST.try_with(Cell::take).ok().flatten() }
    }

    /// Returns the text that the panic was begun with, or `(no message)` for another value.
    pub fn message(&self) -> &str {
        self.payload.as_deref().map_or(NO_MESSAGE, payload_message)
    }

    /// Returns the place where the panic began. `None` without the hook of [`locate_panics`], and for a panic that was
    /// resumed.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Returns the place where the panic began as `file:line:column`, for a log. Returns an empty text if the place is
    /// unknown.
    ///
    /// ```
    /// use ropewalk_proto::panics::{catch, locate_panics};
    ///
    /// locate_panics();
    /// let panic = catch(|| panic!("a bug")).unwrap_err();
    /// assert_eq!(panic.at(), panic.place().unwrap().to_string());
    /// ```
    pub fn at(&self) -> String {
        self.place.as_ref().map(Place::to_string).unwrap_or_default()
    }

    /// Continues to panic with the same payload.
    ///
    /// # Panics
    /// Always.
    pub fn resume(mut self) -> ! {
        // The place is kept for an outer guard, because no hook is called for a panic that is resumed.
        let _ = LATEST.try_with(|latest| latest.set(self.place.take()));
        match self.payload.take() {
            Some(payload) => panic::resume_unwind(payload),
            None => unreachable!("present until it is resumed"),
        }
    }
}

impl Drop for CaughtPanic {
    fn drop(&mut self) {
        let payload = self.payload.take();
        if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // The destructor of the second panic's payload may panic as well, and so on for ever.
            std::mem::forget(another);
        }
    }
}

impl fmt::Debug for CaughtPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaughtPanic").field("message", &self.message()).field("place", &self.place).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics again and again when it is dropped.
    struct Hydra;

    impl Drop for Hydra {
        fn drop(&mut self) {
            panic_any(Hydra);
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_dropped_quietly() {
        let panic = catch(|| panic_any(Hydra)).unwrap_err();
        assert_eq!(panic.message(), "(no message)");
        drop(panic);
    }

    #[test]
    fn a_caught_panic_has_the_place_where_it_began() {
        locate_panics();
        let panic = catch(|| "x".parse::<u32>().unwrap()).unwrap_err();
        let place = panic.place().unwrap();
        assert_eq!((place.file(), place.line()), (file!(), line!() - 2));
        let resumed = catch(|| panic.resume()).unwrap_err();
        assert_eq!(resumed.place().unwrap().line(), line!() - 4);
        assert!(catch(|| panic::resume_unwind(Box::new("no hook"))).unwrap_err().place().is_none());
    }
}
