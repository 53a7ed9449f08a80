//! Logs panics, because a daemon has no terminal to print them on.

use std::panic::{self, PanicHookInfo};
use std::thread;

use ropewalk::Reactor;
use ropewalk::proto::panics::{payload_message, remember};

/// Installs a panic hook that logs instead of printing.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    remember(panic);
    // The reactor logs a panic in a callback itself, with the callback's name, unless the process aborts before.
    if Reactor::current().is_some() && cfg!(panic = "unwind") {
        return;
    }
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let current = thread::current();
    tracing::error!(at, thread = current.name().unwrap_or("?"), message = payload_message(panic.payload()), "panicked");
}
