//! The size of the terminal of the program.

use ropewalk_sys::signals::SIGWINCH;
use ropewalk_sys::{WindowSize, window_size};

use super::signals::SignalWatch;
use crate::error::Result;
use crate::kernel::Reactor;

impl Reactor {
    /// Calls `action` on the reactor's thread with the size of the program's terminal each time that it changes, until
    /// the returned value is dropped.
    ///
    /// [`sys::window_size`](crate::sys::window_size) returns the size at the start. Several changes before the callback
    /// count as one. May be called from any callback.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let watch = reactor.on_window_size(|_reactor, size| println!("{} columns", size.columns))?;
    /// # drop(watch);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`on_signal`](Reactor::on_signal).
    pub fn on_window_size(&self, mut action: impl FnMut(&Reactor, WindowSize) + 'static) -> Result<SignalWatch> {
        self.on_signal(SIGWINCH, move |reactor| match window_size() {
            Ok(size) => action(reactor, size),
            Err(error) => tracing::debug!(%error, "the terminal is gone"),
        })
    }
}
