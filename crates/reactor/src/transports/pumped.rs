//! A connection whose written bytes a pump copies to another descriptor: standard output, a pipe, a terminal.
//!
//! ```text
//!   lose_connection -> everything sent -> the sending direction is shut down -> the pump writes the rest
//!                                      -> connection_lost: in order, or with the error of the pump's write
//! ```
//!
//! Without this wait, a full disk would look like an orderly end, because the socket takes bytes before the pump writes
//! them.

use std::io;
use std::rc::Rc;

use super::Transport;
use super::stream::{Pump, Stream};
use crate::error::Error;
use crate::kernel::Kernel;

#[cfg_attr(not(unix), expect(dead_code, reason = "pipes are adopted on Unix only"))]
impl Transport {
    /// Makes an orderly end of the connection wait for [`pump_ended`](Transport::pump_ended).
    pub(crate) fn wait_for_pump(&self) {
        if self.is_connected() {
            self.0.rare(|rare| rare.pump = Pump::Running);
        }
    }

    /// Reports that the pump has written everything, or that a write has failed.
    pub(crate) fn pump_ended(&self, outcome: io::Result<()>) {
        let stream = &self.0;
        let Some(kernel) = stream.reactor.upgrade().filter(|_| self.is_connected()) else { return };
        stream.rare(|rare| rare.pump = Pump::Absent);
        if let Err(error) = outcome {
            stream.lose_because(&kernel, Error::lost(error));
        }
        stream.settle_soon(&kernel);
    }
}

impl Stream {
    pub(super) fn has_pump(&self) -> bool {
        self.rare_if_any(|rare| rare.pump != Pump::Absent).unwrap_or(false)
    }

    /// Returns whether an end must wait for the pump. Closes the output, so that the pump finishes.
    pub(super) fn waits_for_pump(self: &Rc<Stream>, kernel: &Kernel, reason: &Error) -> bool {
        if !reason.is_done() || !self.has_pump() {
            return false;
        }
        let before = self.rare(|rare| std::mem::replace(&mut rare.pump, Pump::Finishing));
        if before == Pump::Running {
            self.disarm(kernel);
            let key = self.key;
            kernel.tell_streams(move |streams| drop(streams.shutdown_write(key)));
        }
        true
    }
}
