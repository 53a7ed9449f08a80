//! The unusual conditions of a connection, as bits of one word: the fast path of a message compares that word once.
//!
//! A bit that summarizes a fact kept elsewhere is equal to that fact whenever the connection settles, which debug builds
//! assert.

use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Flags: u32 {
        /// The provider reports readability.
        const ARMED = 1 << 0;
        /// The provider took a part, and reports when it takes more.
        const BLOCKED = 1 << 1;
        /// A callback of the protocol or of the producer is on the stack: settling follows when it returns.
        const IN_CALLBACK = 1 << 2;
        /// One of the protocol's callbacks is running.
        const PROTOCOL_OUT = 1 << 3;
        /// Queued for settling before the loop waits.
        const QUEUED = 1 << 4;
        /// A producer is registered.
        const PRODUCER = 1 << 5;
        /// Bytes were written since the producer was last called.
        const WROTE = 1 << 6;
        /// `Rare` has unread bytes.
        const UNREAD = 1 << 7;
        /// `Rare` has observers.
        const OBSERVED = 1 << 8;
        /// A policy holds reading. `Rare` counts the holds.
        const READING_HELD = 1 << 9;
        /// A policy holds writing. `Rare` counts the holds.
        const WRITING_HELD = 1 << 10;
        /// The `StreamState` is not that of a new connection.
        const CHANGED = 1 << 11;
        /// `Rare` has the protocol that replaces the running one.
        const SWITCHED = 1 << 12;
        /// `Rare` has the error of a direct write.
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
    /// Whether nothing is left to do if nothing is queued. After most callbacks it is so.
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

    /// Whether bytes may be delivered, unless the state is `CHANGED` and decides otherwise.
    #[inline]
    pub(super) fn receive(self) -> bool {
        !self.intersects(Flags::READING_HELD.union(Flags::PACE_HELD).union(Flags::IN_CALLBACK))
    }

    /// Whether a write from the running callback can go straight to its outbox, with no producer or observer to notify.
    #[inline]
    pub(super) fn append(self) -> bool {
        const ASKED: Flags = Flags::PROTOCOL_OUT.union(Flags::PRODUCER).union(Flags::OBSERVED).union(Flags::CHANGED);
        self.intersection(ASKED) == Flags::PROTOCOL_OUT
    }
}
