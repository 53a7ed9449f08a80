//! Signals that end a program stop the loop.
//!
//! While the loop runs, SIGINT and SIGTERM (and SIGBREAK on Windows) do what [`Reactor::stop`] does; a second signal,
//! when shutting down takes too long for the person who waits, does what [`Reactor::crash`] does. A signal that the
//! process ignores stays ignored. The dispositions from before `run` are restored when the loop ends.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use ropewalk_sys::Waker;
use ropewalk_sys::signals::{STOP_SIGNALS, SignalGuard};

use crate::error::{Error, Result};
use crate::kernel::{Reactor, guard};

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
    /// Taken while it runs.
    action: Cell<Option<Action>>,
}

/// A signal that calls back; see [`Reactor::on_signal`]. Dropped, it does not any more.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::sys::signals::SIGHUP;
/// use ropewalk::{Reactor, SignalWatch};
///
/// /// Has the log opened anew by SIGHUP, as long as it lives.
/// struct Log {
///     _watch: SignalWatch,
/// }
///
/// let reactor = Reactor::new()?;
/// let log = Log { _watch: reactor.on_signal(SIGHUP, |_| println!("a new log"))? };
/// drop(log); // SIGHUP is what it was
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
    /// Has `action` called on the reactor's thread each time that `signal` has come, as long as the result lives; several
    /// that come before its turn are one. A signal that the process ignores stays ignored.
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
    /// [`Error::Unsupported`] where there are no signals, as on a simulated provider; [`Error::Io`] for a number that is
    /// none, or cannot be caught.
    pub fn on_signal(&self, signal: i32, action: impl FnMut(&Reactor) + 'static) -> Result<SignalWatch> {
        self.require(crate::Interface::Signals)?;
        let guard = SignalGuard::install(&[signal], self.0.signals.waker.clone());
        let guard = guard.map_err(Error::io("cannot catch the signal"))?;
        let watch = Rc::new(Watch { guard, signal, action: Cell::new(Some(Box::new(action))) });
        self.0.signals.watches.borrow_mut().push(Rc::downgrade(&watch));
        Ok(SignalWatch(watch))
    }

    /// The signal that ended the last run, for a program that wants to end as by that signal: `_exitSignal`.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// reactor.run()?;
    /// assert_eq!(reactor.exit_signal(), None); // `stop` ended it, and no signal
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn exit_signal(&self) -> Option<i32> {
        self.0.signals.received.get()
    }
}

impl Signals {
    pub(crate) fn new(waker: Waker) -> Signals {
        Signals { waker, guard: RefCell::default(), received: Cell::default(), watches: RefCell::default() }
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
        if !self.watches.borrow().is_empty() {
            self.check_watches(reactor);
        }
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

    #[cold]
    fn check_watches(&self, reactor: &Reactor) {
        self.watches.borrow_mut().retain(|watch| watch.strong_count() > 0);
        let watches = Vec::from_iter(self.watches.borrow().iter().filter_map(Weak::upgrade));
        for watch in watches {
            if watch.guard.take().is_none() {
                continue;
            }
            // Absent when it runs a loop of its own.
            let Some(mut action) = watch.action.take() else { continue };
            let _ = guard(&reactor.0, "on_signal", || action(reactor));
            watch.action.set(Some(action));
        }
    }
}
