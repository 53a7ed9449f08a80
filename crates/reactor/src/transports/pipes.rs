//! Connections of pipes, terminals and files. Their two directions may have a descriptor each.
//!
//! ```text
//!   receive   -> data_received          under `key`
//!   write     -> send                   under `send_key`: equal to `key`, except with two descriptors
//!   the last reader of the output is gone -> everything received is delivered -> connection_lost
//! ```

use std::io;
use std::rc::Rc;

use ropewalk_sys::Ready;

use super::flags::Flags;
use super::rest::{self, Rest};
use super::stream::Stream;
use crate::kernel::Kernel;

impl Stream {
    /// Whether the connection sends to another descriptor than the one it receives from.
    pub(super) fn is_pair(&self) -> bool {
        self.send_key != self.key
    }

    /// Makes the provider report from now on that the output has lost its last reader.
    ///
    /// A program may close its input early and continue to write. So its connection begins without these reports, and
    /// gets them at the end of the program's output.
    pub(super) fn report_loss_of_reader(&self, kernel: &Kernel) {
        let key = self.send_key;
        kernel.tell_streams(move |streams| drop(streams.set_reading(key, false)));
    }

    /// Whether a program has ended both directions, and nothing that was written to it is left here.
    pub(super) fn has_exited_in_order(&self) -> bool {
        self.is_pair()
            && self.state().is_read_ended()
            && self.outbound.has_lost_nothing()
            && self.origin().is_some_and(|origin| origin.exits_in_order())
    }

    /// Handles an event of the descriptor to which the connection sends.
    pub(super) fn output_ready(self: &Rc<Stream>, kernel: &Rc<Kernel>, ready: Ready) {
        if ready.intersects(Ready::ERROR | Ready::HANGUP) && !self.has(Flags::BROKEN) {
            self.note_loss(kernel);
        }
        self.mark(Flags::BLOCKED, false);
        if !self.has(Flags::IN_CALLBACK) {
            self.settle(kernel);
        }
    }

    /// Limits what a pair still delivers after its output was lost.
    pub(super) fn limit_rest(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if !self.is_pair() || self.rare_if_any(|rare| rare.rest.is_some()).unwrap_or(false) {
            return;
        }
        let deadline = self.later(kernel, rest::TIME, Stream::end_broken);
        self.rare(|rare| rare.rest = Some(Rest::new(deadline)));
    }

    /// Returns how many bytes may still be received after a loss.
    pub(super) fn rest_left(&self) -> usize {
        self.rare_if_any(|rare| rare.rest.as_ref().map(|rest| rest.left)).flatten().unwrap_or(usize::MAX)
    }

    pub(super) fn use_rest(&self, count: usize) {
        self.rare_if_any(|rare| rare.rest.iter_mut().for_each(|rest| rest.left -= count));
    }

    /// Closes the sending direction. Returns `None` while the provider waits in another thread: the direction is then
    /// closed when the wait is over.
    pub(super) fn end_output(&self, kernel: &Kernel) -> Option<io::Result<()>> {
        let key = self.send_key;
        if self.has(Flags::PIPE) {
            // A terminal has no end of its own for one direction.
            if self.is_pair() {
                drop(kernel.remove_source(key));
                kernel.tell_streams(move |streams| streams.close(key));
            }
            return Some(Ok(()));
        }
        let ended = kernel.streams(|streams| streams.shutdown_write(key)).ok();
        if ended.is_none() {
            kernel.tell_streams(move |streams| drop(streams.shutdown_write(key)));
        }
        ended
    }
}
