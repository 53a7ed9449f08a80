//! Logs panics, because a daemon has no terminal to print them on.

use std::panic::{self, PanicHookInfo};
use std::thread;

use ropewalk::Reactor;

/// Installs a panic hook that logs instead of printing.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    // The reactor logs a panic in a callback with its message. Only the hook knows the location.
    if Reactor::current().is_some() {
        return tracing::error!(at, "panicked");
    }
    let current = thread::current();
    tracing::error!(at, thread = current.name().unwrap_or("?"), message = message(panic.payload()), "panicked");
}

/// Returns the message of a panic.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
