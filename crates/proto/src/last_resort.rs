//! Errors of a program that has no log: one line on standard error for each kind.
//!
//! `tracing` drops every event until the program installs a subscriber. An error that no callback handles would then
//! leave no trace at all. So `report!` writes the first error of each kind to standard error. The kind is the place of
//! the macro in the source. A program that wants silence installs `tracing::subscriber::NoSubscriber`.
//!
//! Source: `logging.lastResort` of Python, `Logger.beginLoggingTo` of `twisted.logger`.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Logs an event with its fields, each by its `Display`. Without a subscriber, the first event of this place goes to
/// standard error.
///
/// Panics in callbacks do not come here, because the panic hook has written them to standard error already.
#[doc(hidden)]
#[macro_export]
macro_rules! report {
    ($level:ident, $($field:ident = $value:expr,)* $message:literal $(, $argument:expr)*) => {
        if $crate::last_resort::is_needed() {
            static KIND: $crate::last_resort::Kind = $crate::last_resort::Kind::new();
            KIND.print(format_args!(
                concat!($message $(, " ", stringify!($field), "={}")*) $(, $argument)* $(, $value)*
            ));
        } else {
            ::tracing::event!(::tracing::Level::$level, $($field = %$value,)* $message $(, $argument)*);
        }
    };
}

/// Returns whether the program has installed no subscriber of `tracing`, in no thread.
#[doc(hidden)]
pub fn is_needed() -> bool {
    !tracing::dispatcher::has_been_set()
}

/// The events of one place in the source.
#[doc(hidden)]
pub struct Kind {
    is_shown: AtomicBool,
}

impl Kind {
    /// Returns a kind of which nothing has been shown.
    #[allow(clippy::new_without_default, reason = "only used for statics")]
    #[doc(hidden)]
    pub const fn new() -> Kind {
        Kind { is_shown: AtomicBool::new(false) }
    }

    /// Writes the first event of this kind to standard error.
    #[cold]
    #[doc(hidden)]
    pub fn print(&self, event: fmt::Arguments<'_>) {
        if !self.is_shown.swap(true, Ordering::Relaxed) {
            // Standard error may be closed.
            let _ = writeln!(
                io::stderr().lock(),
                "ropewalk: {event} (install a tracing subscriber to see further errors of this kind)"
            );
        }
    }
}
