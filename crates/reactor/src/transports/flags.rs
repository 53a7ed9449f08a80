//! What the reactor remembers about a connection, beside its `StreamState`: one word, so that the question that each
//! message asks ("is anything out of the ordinary?") is one comparison.

use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub(super) struct Flags: u32 {
        /// The provider reports readability.
        const ARMED = 1 << 0;
        /// The provider said that no more goes, and will say when it does.
        const BLOCKED = 1 << 1;
        /// A callback of the protocol or of the producer is on the stack: settling follows when it returns.
        const IN_CALLBACK = 1 << 2;
        /// The protocol is out, in one of its callbacks.
        const PROTOCOL_OUT = 1 << 3;
        /// Queued for settling before the loop waits.
        const QUEUED = 1 << 4;
        /// There is a producer.
        const PRODUCER = 1 << 5;
        /// Something was written since the producer was told something.
        const WROTE = 1 << 6;
        /// There are unread bytes in `Rare`.
        const UNREAD = 1 << 7;
        /// There are observers in `Rare`.
        const OBSERVED = 1 << 8;
        /// A policy holds reading back; `Rare` counts them.
        const READING_HELD = 1 << 9;
        /// A policy holds writing back; `Rare` counts them.
        const WRITING_HELD = 1 << 10;
        /// The `StreamState` is not that of a connection that simply reads and writes.
        const CHANGED = 1 << 11;
        /// `Rare` has the protocol that the one that is out gives way to.
        const SWITCHED = 1 << 12;
        /// `Rare` has the error of a write that was tried at once.
        const BROKEN = 1 << 13;
        /// A call is scheduled that delivers the unread bytes.
        const REDELIVERY = 1 << 14;
        /// The connection is paced: reading waits while much is queued.
        const PACED = 1 << 15;
        /// Reading waits for the queue of a paced connection to drain.
        const PACE_HELD = 1 << 16;
        /// `Rare` has a layer between the socket and the protocol.
        const LAYERED = 1 << 17;
    }
}

impl Flags {
    /// Whether the provider knows everything, if nothing is queued: nearly always, once what a callback wrote has left.
    #[inline]
    pub(super) fn are_settled(self) -> bool {
        const USUAL: Flags = Flags::OBSERVED.union(Flags::QUEUED).union(Flags::PACED);
        self.difference(USUAL) == Flags::ARMED
    }

    /// Whether the provider takes bytes now.
    #[inline]
    pub(super) fn send(self) -> bool {
        !self.intersects(Flags::BLOCKED.union(Flags::WRITING_HELD))
    }

    /// Whether bytes may be delivered, as far as these flags tell: the `StreamState` has its say when it is `CHANGED`.
    #[inline]
    pub(super) fn receive(self) -> bool {
        !self.intersects(Flags::READING_HELD.union(Flags::PACE_HELD).union(Flags::IN_CALLBACK))
    }

    /// Whether the protocol that is out may append to the outbox that it was lent, and nobody has to be told.
    #[inline]
    pub(super) fn append(self) -> bool {
        const ASKED: Flags = Flags::PROTOCOL_OUT.union(Flags::PRODUCER).union(Flags::OBSERVED).union(Flags::CHANGED);
        self.intersection(ASKED) == Flags::PROTOCOL_OUT
    }
}
