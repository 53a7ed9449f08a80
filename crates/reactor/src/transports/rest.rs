//! The limit of what is delivered after the output of a pair of pipes was lost.
//!
//! A socket that was reset gets no more bytes, so everything that it holds is delivered. The input of a pair is a pipe
//! of its own, which may be endless: `yes | program | head`.

use std::time::Duration;

use crate::interfaces::time::DelayedCall;

/// As many bytes as a pipe holds at most without privileges: pipe(7).
const BYTES: usize = 1024 * 1024;

/// The time for which a paused protocol may delay the end.
pub(super) const TIME: Duration = Duration::from_secs(2);

pub(super) struct Rest {
    pub(super) left: usize,
    /// Closes the connection after [`TIME`].
    deadline: DelayedCall,
}

impl Rest {
    pub(super) fn new(deadline: DelayedCall) -> Rest {
        Rest { left: BYTES, deadline }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        // Cancelling fails while the call runs.
        let _ = self.deadline.cancel();
    }
}
