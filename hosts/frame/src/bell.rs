//! A bell that a thread rings, and for which the loop's thread waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether a turn is due. It stays so until the loop's thread has noticed.
#[derive(Default)]
pub(crate) struct Bell {
    is_rung: Mutex<bool>,
    rang: Condvar,
}

impl Bell {
    /// Rings. May be called in any thread.
    pub(crate) fn ring(&self) {
        *self.state() = true;
        self.rang.notify_one();
    }

    /// Waits until the bell rings, but at most for `limit`. Returns whether it rang.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> bool {
        let is_quiet = |is_rung: &mut bool| !*is_rung;
        let mut is_rung = match limit {
            None => self.rang.wait_while(self.state(), is_quiet).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.rang.wait_timeout_while(self.state(), limit, is_quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        std::mem::take(&mut *is_rung)
    }

    /// Returns whether the bell rang since the last look.
    #[cfg(any(feature = "sdl2", feature = "winit"))]
    pub(crate) fn take(&self) -> bool {
        std::mem::take(&mut *self.state())
    }

    /// Returns whether the bell rang, without taking note of it.
    #[cfg(feature = "sdl2")]
    pub(crate) fn is_rung(&self) -> bool {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.is_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_bell_that_rang_before_the_wait_shortens_it() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::ZERO)));
    }

    #[test]
    fn a_ring_in_a_thread_shortens_the_wait() {
        let bell = Arc::new(Bell::default());
        let rings = bell.clone();
        let thread = thread::spawn(move || rings.ring());
        assert!(bell.wait(None));
        thread.join().unwrap();
    }
}
