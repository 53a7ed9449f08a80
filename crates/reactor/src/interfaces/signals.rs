//! Signals that end a program stop the loop.
//!
//! While the loop runs, SIGINT and SIGTERM (and SIGBREAK on Windows) do what [`Reactor::stop`] does; a second signal,
//! when shutting down takes too long for the person who waits, does what [`Reactor::crash`] does. A signal that the
//! process ignores stays ignored. The dispositions from before `run` are restored when the loop ends.

use std::cell::{Cell, RefCell};

use ropewalk_sys::Waker;
use ropewalk_sys::signals::{STOP_SIGNALS, SignalGuard};

use crate::error::{Error, Result};
use crate::reactor::Reactor;

/// The signals of one reactor.
pub(crate) struct Signals {
    waker: Waker,
    guard: RefCell<Option<SignalGuard>>,
    received: Cell<Option<i32>>,
}

impl Reactor {
    /// The signal that ended the last run, for a program that wants to end as by that signal: `_exitSignal`.
    pub fn exit_signal(&self) -> Option<i32> {
        self.0.signals.received.get()
    }
}

impl Signals {
    pub(crate) fn new(waker: Waker) -> Signals {
        Signals { waker, guard: RefCell::default(), received: Cell::default() }
    }

    pub(crate) fn install(&self) -> Result<()> {
        self.received.set(None);
        let guard = SignalGuard::install(STOP_SIGNALS, self.waker.clone());
        *self.guard.borrow_mut() = Some(guard.map_err(Error::io("cannot install signal handlers"))?);
        Ok(())
    }

    /// Restores the dispositions from before.
    pub(crate) fn uninstall(&self) {
        self.guard.take();
    }

    /// Does what the signals that came ask for.
    pub(crate) fn check(&self, reactor: &Reactor) {
        loop {
            let signal = self.guard.borrow().as_ref().and_then(SignalGuard::take);
            let Some(signal) = signal else { return };
            self.received.set(Some(signal));
            if reactor.0.is_shutting_down() {
                tracing::warn!(signal, "received another signal while shutting down: leaving at once");
                reactor.crash();
            } else {
                tracing::info!(signal, "received a signal: shutting down");
                reactor.0.request_stop();
            }
        }
    }
}
