//! The end of a key, and of the provider.

use std::io;
use std::time::Duration;

use io_uring::{opcode, types};
use ropewalk_proto::Key;

use super::operation::Verbs;
use super::slot::{Connection, Resource};
use super::{Uring, token};

/// The time for which a dropped provider waits for one completion, and the number of such waits. Cancelled operations
/// complete at once, so only a faulty kernel uses up the time.
const LAST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAITS: u32 = 100;

impl Uring {
    /// Closes a key. When this method returns, the system has closed the socket, so the owner may for example bind the
    /// address again.
    pub(super) fn end(&mut self, key: Key) {
        let Some(source) = self.sources.get(key) else { return };
        let busy = !source.under_way.is_empty();
        let sending =
            matches!(&source.resource, Resource::Connection(connection) if self.batch.holds(key, connection.batched));
        self.cancel(key, Verbs::all());
        if sending || busy {
            // Makes the kernel release the file and take the batched bytes. If this enter fails, the loop's next wait
            // returns the error.
            let _ = self.enter(None);
        }
        let Some(source) = self.sources.remove(key) else { return };
        if let Resource::Connection(connection) = source.resource {
            self.end_connection(connection);
        }
        let _ = self.submit_for_host();
    }

    fn end_connection(&mut self, mut connection: Connection) {
        let unsent = connection.take_unsent();
        self.buffers.discard(connection.chain);
        if let Some(unsent) = unsent {
            self.drain_closed(connection.fd, unsent);
        }
    }

    /// Cancels every receive, so that the buffers can be freed. The next wait begins new receives for the sources.
    pub(super) fn end_receives(&mut self) {
        let keys: Vec<_> = self.sources.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.cancel(key, Verbs::RECEIVE));
        // If the kernel still receives, the buffers are kept.
        let _ = self.enter_until(|uring| uring.under_way.receives == 0);
    }

    /// Cancels the receive of one connection, and waits for its last bytes. Returns whether the receive has ended.
    pub(super) fn end_receive(&mut self, key: Key) -> io::Result<bool> {
        self.cancel(key, Verbs::RECEIVE);
        self.enter_until(|uring| uring.sources.get(key).is_none_or(|source| !source.receives()))
    }

    /// Cancels all operations of one source, and waits for their last completions. Returns whether all have ended.
    pub(super) fn end_operations_of(&mut self, key: Key) -> io::Result<bool> {
        self.cancel(key, Verbs::all());
        self.enter_until(|uring| uring.sources.get(key).is_none_or(|source| source.under_way.is_empty()))
    }

    /// Enters until `is_over`, which is false only under a faulty kernel. Returns whether it is over.
    fn enter_until(&mut self, is_over: impl Fn(&Uring) -> bool) -> io::Result<bool> {
        for _ in 0..LAST_WAITS {
            if is_over(self) {
                return Ok(true);
            }
            self.enter(Some(Some(LAST_WAIT)))?;
        }
        Ok(is_over(self))
    }

    /// Returns whether any operation is in flight.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || !self.draining.is_empty()
    }

    /// Cancels every operation, so that the kernel uses none of our memory.
    fn end_operations(&mut self) {
        let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.ring.push(all.user_data(token::IGNORED));
        // If some have not ended, `drop` keeps their memory.
        let _ = self.enter_until(Uring::is_idle);
    }

    /// Returns whether the kernel has nothing of ours and gets nothing of ours with the next enter.
    fn is_idle(&self) -> bool {
        !self.is_busy() && self.batch.is_empty()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.ending = true;
        if self.ring.is_inherited() || self.is_idle() {
            return;
        }
        self.end_operations();
        if self.under_way.receives > 0 {
            // A leak is better than a kernel that writes into reused memory.
            self.buffers.never_free();
        }
    }
}
