//! A limit on the time of a specification.

use std::process::abort;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// The time after which a specification hangs, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(100);

/// Aborts the process if this is not dropped in time, because a loop of Tcl cannot be ended from outside.
pub(crate) struct Fuse {
    _cut: Sender<()>,
}

impl Fuse {
    /// Calls `clean_up` before the process ends.
    pub(crate) fn light(clean_up: impl FnOnce() + Send + 'static) -> Fuse {
        let (cut, is_cut) = channel::<()>();
        thread::spawn(move || {
            if is_cut.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                clean_up();
                abort();
            }
        });
        Fuse { _cut: cut }
    }
}
