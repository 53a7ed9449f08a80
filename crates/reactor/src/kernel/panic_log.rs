//! Panics of the event provider and of destructors, which are logged without the guard of a callback.

use ropewalk_proto::panics::{CaughtPanic, catch};

use crate::error::Error;

/// Logs a panic in the call `name` of `provider`, and returns the panic as an error.
#[cold]
pub(super) fn provider_panicked(provider: &str, name: &str, panic: &CaughtPanic) -> Error {
    let call = format!("{provider}::{name}");
    tracing::error!(call, at = panic.at(), message = panic.message(), "unhandled panic in the event provider");
    Error::Panicked(call.into(), panic.message().into())
}

/// Drops a value of the user when the reactor is gone. A panic in the value's destructor is logged under `name`.
pub(crate) fn drop_logged<T>(name: &str, value: T) {
    if let Err(panic) = catch(|| drop(value)) {
        tracing::error!(callback = name, at = panic.at(), message = panic.message(), "unhandled panic in a destructor");
    }
}
