//! The mode of the terminal behind standard input, and its size.
//!
//! ```text
//!   set -> [stopped by Ctrl-Z: the earlier mode is back] -> [continued: set again] -> dropped, exit or fatal signal:
//!                                                                                     the earlier mode is back
//! ```
//!
//! Only SIGKILL and _exit(2) leave the terminal as it is.

use std::io;

use crate::seam::WindowSize;

#[cfg(unix)]
mod restoring;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

#[cfg(unix)]
pub(crate) use system::restore_now;

/// A mode of a terminal, for a program that reads keys instead of lines.
///
/// ```
/// use ropewalk_sys::TerminalMode;
///
/// assert_ne!(TerminalMode::Raw, TerminalMode::Cbreak); // Ctrl-C is a key, or a signal
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalMode {
    /// Each key arrives at once and unchanged, also Ctrl-C and Ctrl-D. Nothing is echoed, and a line feed of the output
    /// does not return to the first column: cfmakeraw(3).
    Raw,
    /// Each key arrives at once, and nothing is echoed. Ctrl-C and Ctrl-Z are signals.
    Cbreak,
    /// Whole lines arrive as usual, and nothing is echoed, as for a password.
    NoEcho,
}

/// The mode of the terminal behind standard input, until the guard is dropped.
///
/// The earlier mode is also back after exit(3), after a panic, after a signal that kills the process, and while the
/// process is stopped by Ctrl-Z. For that, handlers are installed for all such signals that have their default effect.
/// After SIGCONT the mode is set again. A process forked from this one leaves the terminal alone.
///
/// The methods may be called from any thread.
///
/// ```no_run
/// use std::io::Read;
/// use ropewalk_sys::{TerminalMode, TerminalModeGuard};
///
/// let guard = TerminalModeGuard::set(TerminalMode::Cbreak)?;
/// let mut key = [0];
/// std::io::stdin().read_exact(&mut key)?; // a single key
/// guard.change(TerminalMode::NoEcho)?; // the next line is not shown
/// drop(guard); // the earlier mode is back
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TerminalModeGuard(system::Guard);

impl TerminalModeGuard {
    /// Sets the mode of the terminal behind standard input. Works also after
    /// [`take_standard_streams`](crate::take_standard_streams).
    ///
    /// A process in the background is stopped until it is in the foreground, as by any change of a terminal.
    ///
    /// # Errors
    /// `InvalidInput` when standard input is not a terminal, and `AlreadyExists` while another guard exists.
    /// `Unsupported` on systems other than Unix. The errors of tcsetattr(3) and sigaction(2).
    pub fn set(mode: TerminalMode) -> io::Result<TerminalModeGuard> {
        system::Guard::set(mode).map(TerminalModeGuard)
    }

    /// Changes the mode.
    ///
    /// # Errors
    /// The errors of tcsetattr(3), such as for a terminal that is gone.
    pub fn change(&self, mode: TerminalMode) -> io::Result<()> {
        self.0.change(mode)
    }
}

/// Returns the size of the terminal behind standard input, output or error. May be called from any thread.
///
/// ```
/// match ropewalk_sys::window_size() {
///     Ok(size) => println!("{} lines of {} characters", size.rows, size.columns),
///     Err(error) => println!("no terminal: {error}"),
/// }
/// ```
///
/// # Errors
/// `InvalidInput` when none of the standard streams is a terminal, and `Unsupported` on systems other than Unix.
pub fn window_size() -> io::Result<WindowSize> {
    system::window_size()
}
