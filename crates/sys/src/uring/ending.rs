//! The end of a key, and of the provider.

use io_uring::{opcode, types};
use ropewalk_proto::Key;
use std::time::Duration;

use super::operation::{Linger, Verb};
use super::source::{Connection, What};
use super::{Uring, token};

/// How long a provider that is dropped waits for one completion, and for how many times: cancelled operations complete at
/// once, so this is for a kernel in trouble.
const LAST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAITS: u32 = 100;

impl Uring {
    /// Ends a key. What its owner may do next, such as binding the address again, works when this returns.
    pub(super) fn end(&mut self, key: Key) {
        let Some(source) = self.sources.get(key) else { return };
        let operations = source.operations();
        let mut busy = false;
        let batched = matches!(&source.what, What::Connection(connection) if self.batch.holds(connection.batched));
        for operation in operations {
            self.cancel(operation);
            busy = true;
        }
        if batched || busy {
            // The kernel lets go of the file, and takes what was written before. If it cannot, the loop hears of it in its
            // next wait.
            let _ = self.enter(None);
        }
        let Some(source) = self.sources.remove(key) else { return };
        if let What::Connection(connection) = source.what {
            self.end_connection(key, connection);
        }
        let _ = self.keep_up();
    }

    fn end_connection(&mut self, key: Key, connection: Connection) {
        self.buffers.discard(connection.chain);
        if let Some(unsent) = connection.unsent {
            self.linger(key, Linger { fd: connection.fd, unsent: *unsent });
        }
    }

    /// What uses the ring's buffers.
    pub(super) fn receives(&self) -> impl Iterator<Item = Key> {
        let receives = self.operations.iter().filter(|(_, operation)| matches!(operation.verb, Verb::Receive));
        receives.map(|(key, _)| key)
    }

    /// Has every receive end, so that the buffers can be freed; the sources begin new ones when they are looked at.
    pub(super) fn end_receives(&mut self) {
        let receives: Vec<_> = self.receives().collect();
        receives.into_iter().for_each(|operation| self.cancel(operation));
        for _ in 0..LAST_WAITS {
            if self.receives().next().is_none() || self.enter(Some(Some(LAST_WAIT))).is_err() {
                return;
            }
        }
    }

    /// Has every operation end, so that the kernel uses nothing of ours any more.
    fn end_operations(&mut self) {
        let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.ring.push(all.user_data(token::IGNORED));
        for _ in 0..LAST_WAITS {
            if self.enter(Some(Some(LAST_WAIT))).is_err() || self.operations.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.ending = true;
        if self.ring.is_inherited() || (self.operations.is_empty() && self.batch.is_empty()) {
            return;
        }
        self.end_operations();
        if !self.operations.is_empty() {
            // Memory is cheaper than what the kernel might write into its successor.
            self.buffers.never_free();
        }
    }
}
