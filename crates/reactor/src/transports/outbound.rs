//! The sending half of a connection: the outbox, the producer that fills it, and the reasons why bytes are not sent
//! now.
//!
//! Invariant: bytes leave in the order in which they were written, and no byte leaves while a policy holds writing
//! (`WRITING_HELD`, the count is above zero) or until the provider takes more (`BLOCKED`). At most one producer is
//! registered (`PRODUCER`). After a loss (`BROKEN`) no byte leaves, and the connection ends when the received bytes have
//! been delivered.

use std::io;

use bytes::Bytes;
use ropewalk_proto::Outbox;
use ropewalk_sys::{DescriptorQueue, OwnedWaitable};

use super::Transport;
use super::flags::{Flags, Word};
use super::producer::Producer;
use super::slot::Slot;
use crate::error::Error;
use crate::kernel::Kernel;

/// The default watermarks: high and low.
const WATERMARKS: (usize, usize) = (64 * 1024, 32 * 1024);

#[derive(Default)]
pub(super) struct Outbound {
    /// Present only while bytes are queued or a callback runs, so that an idle connection holds no buffer.
    outbox: Slot<Outbox>,
    rare: Slot<Rare>,
}

/// State that few connections need.
#[derive(Default)]
struct Rare {
    producer: Option<Registered>,
    /// The descriptors that travel with bytes of the outbox, or with the byte that is written next.
    descriptors: DescriptorQueue,
    /// The number of queued bytes above which the producer is paused, and the number at which it is resumed.
    watermarks: Option<(usize, usize)>,
    /// The number of policies that hold writing back.
    holds: u32,
    /// The reason for which the connection ends, because it is lost.
    failure: Option<Error>,
    /// Whether nothing was queued when the connection was found to be lost.
    loses_nothing: bool,
}

/// A registered producer and whether it has been paused.
struct Registered {
    producer: Producer,
    is_paused: bool,
}

/// A method of the producer that must be called now.
pub(super) enum Due {
    Pause(Producer),
    Resume(Producer),
}

impl Outbound {
    /// Lends an outbox to the callback that follows. The outbox is lent in advance, because nearly every callback
    /// writes.
    #[inline]
    pub(super) fn lend_outbox(&self, kernel: &Kernel) {
        // An outbox with queued bytes remains in use, so that the bytes stay in front.
        if self.outbox.is_empty() {
            self.outbox.put(kernel.spare_outboxes.take());
        }
    }

    /// Takes back an outbox that the callback did not use.
    #[inline]
    pub(super) fn take_outbox_back(&self, kernel: &Kernel) {
        match self.outbox.take() {
            Some(outbox) if outbox.is_empty() => kernel.spare_outboxes.keep(outbox),
            Some(used) => self.outbox.put(used),
            None => {}
        }
    }

    /// Appends to the outbox if the connection has an outbox now.
    #[inline]
    pub(super) fn append(&self, data: &[u8]) -> bool {
        self.outbox.peek(|outbox| outbox.write(data)).is_some()
    }

    #[inline]
    pub(super) fn take_outbox(&self) -> Option<Box<Outbox>> {
        self.outbox.take()
    }

    #[inline]
    pub(super) fn put_outbox(&self, outbox: Box<Outbox>) {
        self.outbox.put(outbox);
    }

    /// The number of bytes in the outbox.
    pub(super) fn queued(&self) -> usize {
        self.outbox.peek(|outbox| outbox.len()).unwrap_or(0)
    }

    /// Removes and returns the first chunk of the queue.
    pub(super) fn take_chunk(&self) -> Option<Bytes> {
        self.outbox.peek(Outbox::take_chunk).flatten()
    }

    /// Queues a descriptor for the byte that is written next.
    ///
    /// # Errors
    /// Returns the descriptor if too many are queued.
    pub(super) fn queue_descriptor(&self, descriptor: OwnedWaitable, flags: &Word) -> Result<(), OwnedWaitable> {
        let bytes_before = self.queued();
        self.rare.with(|rare| rare.descriptors.push(bytes_before, descriptor))?;
        flags.mark(Flags::DESCRIPTORS, true);
        Ok(())
    }

    pub(super) fn take_descriptors(&self) -> DescriptorQueue {
        self.rare.with(|rare| std::mem::take(&mut rare.descriptors))
    }

    pub(super) fn put_descriptors(&self, queue: DescriptorQueue, flags: &Word) {
        flags.mark(Flags::DESCRIPTORS, !queue.is_empty());
        self.rare.with(|rare| rare.descriptors = queue);
    }

    /// Drops the queued bytes and descriptors.
    pub(super) fn drop_queue(&self, kernel: &Kernel, flags: &Word) {
        if flags.has(Flags::DESCRIPTORS) {
            self.put_descriptors(DescriptorQueue::default(), flags);
        }
        if let Some(mut outbox) = self.outbox.take() {
            outbox.clear();
            kernel.spare_outboxes.keep(outbox);
        }
    }

    /// Registers `producer`. No other producer may be registered.
    pub(super) fn register(&self, producer: Producer, flags: &Word) {
        // A pull producer counts as paused until it is asked for its first piece.
        let is_paused = matches!(producer, Producer::Pull(_));
        self.rare.with(|rare| rare.producer = Some(Registered { producer, is_paused }));
        flags.mark(Flags::PRODUCER, true);
        flags.mark(Flags::WROTE, false);
    }

    pub(super) fn take_producer(&self, flags: &Word) -> Option<Producer> {
        flags.mark(Flags::PRODUCER, false);
        let registered = self.rare.peek(|rare| rare.producer.take()).flatten()?;
        Some(registered.producer)
    }

    pub(super) fn producer(&self) -> Option<Producer> {
        self.rare.peek(|rare| rare.producer.as_ref().map(|registered| registered.producer.clone())).flatten()
    }

    /// Returns the method of the producer that must be called when `buffered` bytes are queued, and records the call as
    /// made.
    pub(super) fn take_due(&self, buffered: usize, flags: &Word) -> Option<Due> {
        let (high, low) = self.watermarks();
        let due = |rare: &mut Rare| {
            let Registered { producer, is_paused } = rare.producer.as_mut()?;
            let is_pull = matches!(producer, Producer::Pull(_));
            // A pull producer that wrote nothing when it was asked is not asked again until something was written and
            // sent.
            let (owed, low) = if is_pull { (*is_paused || flags.has(Flags::WROTE), 0) } else { (*is_paused, low) };
            if owed && buffered <= low {
                *is_paused = false;
                return Some(Due::Resume(producer.clone()));
            }
            let pauses = !is_pull && !*is_paused && buffered > high;
            *is_paused |= pauses;
            pauses.then(|| Due::Pause(producer.clone()))
        };
        self.rare.peek(due).flatten()
    }

    /// Marks a connection that produces as paused. Returns the connection unless it was paused already.
    pub(super) fn pause_transport(&self) -> Option<Transport> {
        let pause = |rare: &mut Rare| {
            let Registered { producer: Producer::Transport(transport), is_paused } = rare.producer.as_mut()? else {
                return None;
            };
            (!std::mem::replace(is_paused, true)).then(|| transport.clone())
        };
        self.rare.peek(pause).flatten()
    }

    pub(super) fn set_watermarks(&self, high: usize, low: usize) {
        self.rare.with(|rare| rare.watermarks = Some((high, low.min(high))));
    }

    /// The watermarks: high and low.
    pub(super) fn watermarks(&self) -> (usize, usize) {
        self.rare.peek(|rare| rare.watermarks).flatten().unwrap_or(WATERMARKS)
    }

    /// Adds or removes a hold.
    pub(super) fn hold(&self, on: bool, flags: &Word) {
        let holds = self.rare.with(|rare| {
            rare.holds = if on { rare.holds + 1 } else { rare.holds - 1 };
            rare.holds
        });
        flags.mark(Flags::WRITING_HELD, holds > 0);
    }

    /// Keeps the reason for which the connection ends, because it is lost. Only the first reason is kept.
    pub(super) fn broke(&self, reason: Error, flags: &Word) {
        self.rare.with(|rare| {
            rare.failure.get_or_insert(reason);
        });
        flags.mark(Flags::BROKEN, true);
    }

    /// Records that nothing is queued when the connection is found to be lost.
    pub(super) fn loses_nothing(&self) {
        self.rare.with(|rare| rare.loses_nothing = true);
    }

    pub(super) fn has_lost_nothing(&self) -> bool {
        self.rare.peek(|rare| rare.loses_nothing).unwrap_or(false)
    }

    /// Adds the system's error to a loss that has none. The error of a failed write is kept.
    pub(super) fn explain(&self, error: io::Error) {
        self.rare.with(|rare| {
            if matches!(rare.failure, Some(Error::ConnectionLost(None))) {
                rare.failure = Some(Error::lost(error));
            }
        });
    }

    /// Returns the reason for which the connection ends, if it is lost.
    pub(super) fn failure(&self) -> Option<Error> {
        self.rare.peek(|rare| rare.failure.clone()).flatten()
    }

    /// Forgets the watermarks and the holds of a connection that has ended.
    pub(super) fn clear(&self, flags: &Word) {
        flags.mark(Flags::WRITING_HELD | Flags::BROKEN | Flags::DESCRIPTORS, false);
        drop(self.rare.take());
    }

    /// Asserts that the flags summarize the facts of this part.
    #[cfg(debug_assertions)]
    pub(super) fn assert_flags(&self, flags: &Word) {
        let facts = |rare: &mut Rare| {
            (rare.holds > 0, rare.producer.is_some(), rare.failure.is_some(), !rare.descriptors.is_empty())
        };
        let (is_held, has_producer, is_broken, has_descriptors) = self.rare.peek(facts).unwrap_or_default();
        flags.assert_is(Flags::DESCRIPTORS, has_descriptors);
        flags.assert_is(Flags::WRITING_HELD, is_held);
        flags.assert_is(Flags::PRODUCER, has_producer);
        flags.assert_is(Flags::BROKEN, is_broken);
    }
}
