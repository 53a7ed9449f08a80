//! Signals, which stop the loop or call a callback.
//!
//! While the loop runs, SIGINT and SIGTERM (and SIGBREAK on Windows) call [`Reactor::stop`]. A second signal during the
//! shutdown calls [`Reactor::crash`], so a slow shutdown can be cut short. While the loop is stuck in a callback, a
//! second signal kills the process by the signal's default effect. A signal that the process ignores stays ignored.
//! After the run, the previous signal dispositions are restored.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use ropewalk_sys::Waker;
use ropewalk_sys::signals::{STOP_SIGNALS, SignalGuard};

use super::core::Run;
use super::order;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Feature, Hooks, Order, Reactor};

/// The signals of one reactor.
pub(crate) struct Signals {
    waker: Waker,
    guard: RefCell<Option<SignalGuard>>,
    received: Cell<Option<i32>>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

type Action = Box<dyn FnMut(&Reactor)>;

struct Watch {
    guard: SignalGuard,
    signal: i32,
    /// `None` while the action runs.
    action: Cell<Option<Action>>,
}

/// A callback for a signal, from [`Reactor::on_signal`]. Dropping the value stops the callbacks.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::sys::signals::SIGHUP;
/// use ropewalk::{Reactor, SignalWatch};
///
/// /// Reopens its file on SIGHUP until it is dropped.
/// struct Log {
///     _watch: SignalWatch,
/// }
///
/// let reactor = Reactor::new()?;
/// let log = Log { _watch: reactor.on_signal(SIGHUP, |_| println!("a new log"))? };
/// drop(log); // SIGHUP has its previous effect again
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct SignalWatch(Rc<Watch>);

impl std::fmt::Debug for SignalWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SignalWatch").field(&self.0.signal).finish()
    }
}

impl Reactor {
    /// Calls `action` on the reactor's thread after each `signal`, until the returned value is dropped.
    ///
    /// Several signals that arrive before the callback count as one. A signal that the process ignores stays ignored.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::prelude::*;
    /// use ropewalk::sys::signals::SIGHUP;
    ///
    /// let reactor = Reactor::new()?;
    /// let watch = reactor.on_signal(SIGHUP, |_reactor| println!("reading the configuration again"))?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the provider has no signals: a simulated provider has none. [`Error::Io`] when
    /// `signal` is not a signal number, cannot be caught, or reports a fault of an instruction: SIGSEGV, SIGBUS, SIGFPE
    /// and SIGILL.
    pub fn on_signal(&self, signal: i32, action: impl FnMut(&Reactor) + 'static) -> Result<SignalWatch> {
        self.require(crate::Interface::Signals)?;
        let signals = self.feature::<Signals>();
        let guard = SignalGuard::install(&[signal], signals.waker.clone());
        let guard = guard.map_err(Error::io("cannot catch the signal"))?;
        let watch = Rc::new(Watch { guard, signal, action: Cell::new(Some(Box::new(action))) });
        signals.watches.borrow_mut().push(Rc::downgrade(&watch));
        Ok(SignalWatch(watch))
    }

    /// Returns the signal that ended the last run, for a program that wants to exit with that signal: `_exitSignal`.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// reactor.run()?;
    /// assert_eq!(reactor.exit_signal(), None); // ended by `stop`, not by a signal
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn exit_signal(&self) -> Option<i32> {
        self.feature::<Signals>().received.get()
    }
}

impl Feature for Signals {
    fn new(reactor: &Reactor) -> Signals {
        let waker = Waker::new(reactor.0.attention().clone());
        Signals { waker, guard: RefCell::default(), received: Cell::default(), watches: RefCell::default() }
    }

    fn hooks(self: &Rc<Signals>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::SIGNALS, self.clone()))
    }
}

impl Signals {
    pub(crate) fn install(&self) -> Result<()> {
        self.received.set(None);
        let guard = SignalGuard::install(STOP_SIGNALS, self.waker.clone());
        let guard = guard.map_err(Error::io("cannot install signal handlers"))?;
        guard.end_stuck_process();
        *self.guard.borrow_mut() = Some(guard);
        Ok(())
    }

    /// Restores the previous signal dispositions.
    pub(crate) fn uninstall(&self) {
        self.guard.take();
    }
}

impl Hooks for Signals {
    /// Handles the signals that have arrived.
    fn turn(&self, reactor: &Reactor) {
        if !self.watches.borrow().is_empty() {
            self.check_watches(reactor);
        }
        loop {
            let signal = self.guard.borrow().as_ref().and_then(SignalGuard::take);
            let Some(signal) = signal else { return };
            self.received.set(Some(signal));
            let run = reactor.feature::<Run>();
            if run.is_shutting_down() {
                tracing::warn!(signal, "received another signal while shutting down: leaving at once");
                reactor.crash();
            } else {
                tracing::info!(target: "ropewalk::lifecycle", signal, "received a signal: shutting down");
                run.request_stop(&reactor.0);
            }
        }
    }
}

impl Signals {
    #[cold]
    fn check_watches(&self, reactor: &Reactor) {
        self.watches.borrow_mut().retain(|watch| watch.strong_count() > 0);
        let watches = Vec::from_iter(self.watches.borrow().iter().filter_map(Weak::upgrade));
        for watch in watches {
            if watch.guard.take().is_none() {
                continue;
            }
            // `None` while the action runs: the action may run turns of the loop.
            let Some(mut action) = watch.action.take() else { continue };
            let _ = reactor.0.guard(CallbackKind::Signal, "on_signal", || action(reactor));
            watch.action.set(Some(action));
        }
    }
}
