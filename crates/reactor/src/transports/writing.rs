//! Writes append to the outbox, and settling hands the outbox to the provider.
//!
//! ```text
//!  write in the connection's own callback   appended to the lent outbox, which is sent when the callback returns
//!   write from elsewhere                     queued, and the connection queued for settling
//!   a large write with nothing queued        to the operating system at once; the rest is queued
//! ```

use std::rc::Rc;

use bytes::Bytes;
use ropewalk_proto::Outbox;

use super::flags::Flags;
use super::stream::Stream;
use crate::error::Error;
use crate::kernel::Kernel;

/// The minimum size of a write that goes from the caller's slice to the operating system, if nothing is queued.
/// Measurements showed that copying such a write costs more than the system call that the copy could save.
pub(super) const DIRECT_WRITE: usize = 4096;

impl Stream {
    #[inline]
    pub(super) fn write(self: &Rc<Stream>, data: &[u8]) {
        if self.flags.get().append() && data.len() < DIRECT_WRITE && self.outbound.append(data) {
            return;
        }
        self.write_from_elsewhere(data);
    }

    #[inline(never)]
    fn write_from_elsewhere(self: &Rc<Stream>, data: &[u8]) {
        let Some(kernel) = self.accept_write(data) else { return };
        let rest = if data.len() >= DIRECT_WRITE { self.write_directly(&kernel, data) } else { data };
        if !rest.is_empty() {
            self.queue(&kernel, |outbox| outbox.write(rest));
        }
    }

    pub(super) fn write_bytes(self: &Rc<Stream>, data: Bytes) {
        // Small chunks are copied here, because the outbox must not be borrowed when `data` is dropped: dropping `data`
        // may run user code that writes.
        if data.len() < Outbox::COPY_BELOW {
            return self.write(&data);
        }
        if let Some(kernel) = self.accept_write(&data) {
            self.queue(&kernel, |outbox| outbox.write_bytes(data));
        }
    }

    /// Records that `data` is written. Returns `None` if it must be dropped.
    fn accept_write(&self, data: &[u8]) -> Option<Rc<Kernel>> {
        if self.has(Flags::LAYERED) {
            self.assert_layer_is_idle();
        }
        let producing = self.has(Flags::PRODUCER);
        if data.is_empty() || self.has(Flags::BROKEN) || !self.state().accepts_writes(producing) {
            return None;
        }
        let kernel = self.reactor.upgrade()?;
        self.mark(Flags::WROTE, producing);
        self.observe_written(data);
        Some(kernel)
    }

    /// Sends as much as possible if nothing is queued, and returns the rest.
    fn write_directly<'a>(&self, kernel: &Kernel, data: &'a [u8]) -> &'a [u8] {
        let flags = self.flags.get();
        if !flags.send() || flags.intersects(Flags::LAYERED | Flags::DESCRIPTORS) || self.buffered() > 0 {
            return data;
        }
        match kernel.streams(|streams| streams.send_slice(self.send_key, data)) {
            Ok(Ok(count)) => &data[count..],
            Ok(Err(error)) => {
                self.outbound.broke(Error::lost(error), &self.flags);
                data
            }
            Err(_away) => data,
        }
    }

    fn queue(self: &Rc<Stream>, kernel: &Kernel, append: impl FnOnce(&mut Outbox)) {
        let mut outbox = self.outbound.take_outbox().unwrap_or_else(|| kernel.spare_outboxes.take());
        append(&mut outbox);
        let queued = outbox.len();
        self.outbound.put_outbox(outbox);
        if self.has(Flags::PRODUCER) && queued > self.outbound.watermarks().0 {
            self.pause_transport_producer();
        }
        self.settle_soon(kernel);
    }

    /// Pauses a producer that is a transport. This calls no user code, so it happens at once and not after the
    /// callback.
    fn pause_transport_producer(&self) {
        if let Some(transport) = self.outbound.pause_transport() {
            transport.pause_producing();
        }
    }

    /// Counts bytes that are lost with the connection.
    pub(super) fn count_unsent(&self, count: usize) {
        if count > 0 {
            self.rare(|rare| rare.unsent += count);
        }
    }

    /// Drops the queue, and counts its bytes as lost.
    pub(super) fn drop_queue(&self, kernel: &Kernel) {
        self.count_unsent(self.buffered());
        self.outbound.drop_queue(kernel, &self.flags);
    }

    pub(super) fn unsent(&self) -> usize {
        self.rare_if_any(|rare| rare.unsent).unwrap_or(0)
    }

    /// Returns the number of written bytes that wait to be handed to the operating system.
    pub(super) fn buffered(&self) -> usize {
        let count = self.outbound.queued();
        if self.has(Flags::LAYERED) { count + self.wire_queued() } else { count }
    }
}
