//! Signals that ask the program to stop, recorded for the loop instead of ending the process.
//!
//! ```text
//!   install ─> [signal arrives: recorded, loop woken] ─> take ─> ... ─> drop: the old disposition is back
//! ```
//!
//! This is not a general signal interface. Only the number of a signal is recorded, and a signal that arrives twice
//! before `take` counts once.

use std::io;

use crate::waker::Waker;

mod named;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

pub use named::{Signal, UnknownSignal};

pub use system::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH, STOP_SIGNALS};

/// Terminates this process by the default effect of `signal`, whatever disposition the signal has.
///
/// A process that the signal does not end, such as the first process of a container, exits with status 128 plus
/// `signal`. No other code of the program runs: neither destructors nor functions of atexit(3). May be called from any
/// thread, also while the others are stuck.
///
/// ```no_run
/// use ropewalk_sys::signals::{SIGTERM, end_process};
///
/// end_process(SIGTERM);
/// ```
pub fn end_process(signal: i32) -> ! {
    system::end_process(signal)
}

/// Records signals for one loop until the guard is dropped.
///
/// Several guards may exist at once, in any threads. Each records every signal that it was installed for. When the last
/// guard of a signal is dropped, the earlier disposition is restored, unless it was changed meanwhile.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::providers;
/// use ropewalk_sys::signals::{SIGUSR1, SignalGuard};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let guard = SignalGuard::install(&[SIGUSR1], provider.waker())?;
/// guard.end_stuck_process(); // a second signal kills this process if the loop below never takes the first
/// std::process::Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status()?;
/// while guard.take() != Some(SIGUSR1) {
///     provider.wait(None, &mut Vec::new())?; // ends when the signal comes
/// }
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SignalGuard(system::Watch);

impl SignalGuard {
    /// Records `signals` from here on, and calls `waker` from the signal handler when one arrives.
    ///
    /// The waker must be async-signal-safe, signal-safety(7). The providers of this crate have such wakers. A signal
    /// that is ignored, as under nohup(1), stays ignored. May be called from any thread.
    ///
    /// # Errors
    /// The errors of sigaction(2), such as for a number that is not a signal. `InvalidInput` for SIGSEGV, SIGBUS,
    /// SIGFPE and SIGILL: after a fault the same instruction would run again. Nothing is changed then.
    pub fn install(signals: &[i32], waker: Waker) -> io::Result<SignalGuard> {
        system::Watch::new(signals, waker).map(SignalGuard)
    }

    /// Lets a further signal kill the process by its default effect, if an earlier one has not been taken for 0.1
    /// seconds.
    ///
    /// So a user can end a program whose loop is stuck in a callback or in a long start.
    pub fn end_stuck_process(&self) {
        self.0.end_stuck_process();
    }

    /// Takes the number of a signal that has arrived, the lowest if there are several.
    pub fn take(&self) -> Option<i32> {
        self.0.take()
    }
}
