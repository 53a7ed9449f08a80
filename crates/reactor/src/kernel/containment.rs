//! Panics outside of user callbacks: in the provider's `receive` and `send`, in destructors, or in the reactor itself.
//!
//! The guard is around a whole batch of events, so that a message costs nothing. The source of such a
//! panic is closed, and the loop continues with the next event.

use ropewalk_proto::Key;
use ropewalk_proto::panics::{CaughtPanic, catch};

use super::{Kernel, Reactor};
use crate::error::{Error, Result};

/// The number of panics without a successful wait between them after which the loop ends, because it would only panic
/// again.
const PANICS_MOST: u32 = 3;

impl Reactor {
    /// Runs work of the source `key`. If the work panics, the source is closed.
    pub(crate) fn contain(&self, key: Key, work: impl FnOnce()) {
        if let Err(panic) = catch(work) {
            self.end_culprit(Some(key), panic);
        }
    }

    /// Closes the source whose work panicked: the source for which the provider was called, or else the source of
    /// `key`. Returns the panic as an error.
    #[cold]
    pub(super) fn end_culprit(&self, key: Option<Key>, panic: CaughtPanic) -> Error {
        let kernel = &self.0;
        let (error, key) = match kernel.guard.blamed.take() {
            Some((call, blamed)) => (kernel.provider_panicked(call, panic), Some(blamed)),
            None => (kernel.loop_panicked(panic), key),
        };
        kernel.apply_owed_policy();
        let source = key.and_then(|key| Some((key, kernel.inbox.borrow().sources.get(key)?.clone())));
        if let Some((key, source)) = source {
            let reason = error.clone();
            if let Err(panic) = catch(|| source.panicked(self, reason)) {
                kernel.loop_panicked(panic);
                // The source is not dropped here, because its destructor may be the code that panics.
                std::mem::forget(kernel.remove_source(key));
            }
        }
        error
    }

    /// Reports a panic that left the turn. Returns an error after too many panics since the last wait.
    #[cold]
    pub(crate) fn turn_panicked(&self, panic: CaughtPanic) -> Result<()> {
        // The features after the panicking feature may not have been called.
        self.0.attention.ask();
        let error = self.end_culprit(None, panic);
        self.0.count_panic(error)
    }
}

impl Kernel {
    /// Logs a panic outside of callbacks.
    #[cold]
    fn loop_panicked(&self, panic: CaughtPanic) -> Error {
        tracing::error!(at = panic.at(), message = panic.message(), "unhandled panic outside of callbacks");
        let error = Error::Panicked("the reactor".into(), panic.message().into());
        self.guard.owed.set(Some(Box::new((error.clone(), panic))));
        error
    }

    /// Counts a panic that belongs to no source. Returns the panic as an error if there were too many since the last
    /// wait.
    pub(crate) fn count_panic(&self, error: Error) -> Result<()> {
        let count = self.guard.repeated.get() + 1;
        self.guard.repeated.set(count % PANICS_MOST);
        if count < PANICS_MOST { Ok(()) } else { Err(error) }
    }

    /// Returns whether there were panics since the last wait.
    pub(crate) fn has_panicked(&self) -> bool {
        self.guard.repeated.get() > 0
    }

    /// Clears the count of panics, because a wait has succeeded.
    #[inline]
    pub(super) fn forgive_panics(&self) {
        self.guard.repeated.set(0);
    }
}
