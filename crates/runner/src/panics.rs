//! Panics in the log, so that those of a daemon are not lost.

use std::panic::{self, PanicHookInfo};
use std::thread;

use ropewalk::Reactor;

/// Has panics logged instead of printed.
pub(crate) fn log_them() {
    panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    // The reactor tells of a panic in a callback by what callback it was and what it said; the place is known only here.
    if Reactor::current().is_some() {
        return tracing::error!(at, "a panic");
    }
    let current = thread::current();
    tracing::error!(at, thread = current.name().unwrap_or("?"), message = message(panic.payload()), "a panic");
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
