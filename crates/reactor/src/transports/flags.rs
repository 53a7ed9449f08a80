//! The unusual conditions of a connection, as bits of one word: the fast path of a message compares that word once.
//!
//! A bit that summarizes a fact kept elsewhere is equal to that fact whenever the connection settles. Each part of a
//! connection asserts this equality for its own facts in debug builds.

use std::cell::Cell;

use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Flags: u32 {
        /// The provider reports readability.
        const ARMED = 1 << 0;
        /// The last send was partial. The provider reports when it can take more.
        const BLOCKED = 1 << 1;
        /// A callback of the protocol or of the producer is on the stack. The connection settles when that callback
        /// returns.
        const IN_CALLBACK = 1 << 2;
        /// One of the protocol's callbacks is running.
        const PROTOCOL_OUT = 1 << 3;
        /// Queued for settling before the loop waits.
        const QUEUED = 1 << 4;
        /// A producer is registered.
        const PRODUCER = 1 << 5;
        /// Bytes were written since the producer was last called.
        const WROTE = 1 << 6;
        /// The inbound part has bytes that the protocol gave back or could not receive yet.
        const UNREAD = 1 << 7;
        /// The connection has observers.
        const OBSERVED = 1 << 8;
        /// A policy holds reading. The inbound part has the number of holds.
        const READING_HELD = 1 << 9;
        /// A policy holds writing. The outbound part has the number of holds.
        const WRITING_HELD = 1 << 10;
        /// The `StreamState` is not that of a new connection.
        const CHANGED = 1 << 11;
        /// A successor waits to replace the protocol whose callback runs.
        const SWITCHED = 1 << 12;
        /// A write has failed, or the connection was lost while it was not read: the outbound part has the reason. The
        /// connection ends when the received bytes have been delivered.
        const BROKEN = 1 << 13;
        /// A call is scheduled that delivers the unread bytes.
        const REDELIVERY = 1 << 14;
        /// The connection is paced: reading waits while much is queued.
        const PACED = 1 << 15;
        /// The connection is paced, and reading waits until its queue drains.
        const PACE_HELD = 1 << 16;
        /// A layer is between the socket and the protocol.
        const LAYERED = 1 << 17;
        /// The provider does not know yet whether to report readability.
        const UNARMED = 1 << 18;
        /// The connection does not linger after its end.
        const PROMPT = 1 << 19;
        /// The connection lingers after its end, also if the default says otherwise.
        const LINGERS = 1 << 20;
        /// The protocol receives into memory of its own.
        const BUFFERED = 1 << 21;
        /// The inbound part has a read size.
        const SIZED = 1 << 22;
        /// The connection is one of pipes, terminals or files.
        const PIPE = 1 << 23;
        /// The connection can carry descriptors: a UNIX connection of a provider that passes them.
        const PASSES = 1 << 24;
        /// The protocol takes the descriptors that come with received bytes.
        const TAKES_DESCRIPTORS = 1 << 25;
        /// The outbound part has descriptors to send.
        const DESCRIPTORS = 1 << 26;
        /// The connection chooses where it receives, how much at a time, or with descriptors.
        const TAILORED = Flags::BUFFERED.bits() | Flags::SIZED.bits() | Flags::TAKES_DESCRIPTORS.bits();
    }
}

/// The flags of one connection. Its parts share the word.
pub(super) struct Word(Cell<Flags>);

impl Word {
    pub(super) fn new(flags: Flags) -> Word {
        Word(Cell::new(flags))
    }

    #[inline]
    pub(super) fn get(&self) -> Flags {
        self.0.get()
    }

    #[inline]
    pub(super) fn has(&self, flags: Flags) -> bool {
        self.0.get().contains(flags)
    }

    #[inline]
    pub(super) fn mark(&self, flags: Flags, on: bool) {
        let mut now = self.0.get();
        now.set(flags, on);
        self.0.set(now);
    }

    /// Asserts that `flag` is equal to the fact that it summarizes.
    #[cfg(debug_assertions)]
    pub(super) fn assert_is(&self, flag: Flags, fact: bool) {
        assert_eq!(self.has(flag), fact, "{flag:?} differs from the fact that it summarizes");
    }
}

impl Flags {
    /// Whether the connection has nothing to handle except, perhaps, queued bytes. This is true after most callbacks.
    #[inline]
    pub(super) fn are_settled(self) -> bool {
        self.difference(Flags::OBSERVED.union(Flags::TAILORED)).are_plain()
    }

    /// Whether the connection is settled and has no observers.
    #[inline]
    pub(super) fn are_plain(self) -> bool {
        const KIND: Flags = Flags::PIPE.union(Flags::PASSES);
        const HARMLESS: Flags =
            Flags::QUEUED.union(Flags::PACED).union(Flags::PROMPT).union(Flags::LINGERS).union(KIND);
        self.difference(HARMLESS) == Flags::ARMED
    }

    /// Whether bytes may be handed to the provider now.
    #[inline]
    pub(super) fn send(self) -> bool {
        !self.intersects(Flags::BLOCKED.union(Flags::WRITING_HELD).union(Flags::BROKEN))
    }

    /// Whether the flags allow a delivery. If `CHANGED` is set, the state decides as well.
    #[inline]
    pub(super) fn receive(self) -> bool {
        !self.intersects(Flags::READING_HELD.union(Flags::PACE_HELD).union(Flags::IN_CALLBACK))
    }

    /// Whether a write from the running callback can go straight to its outbox, with no producer or observer to notify.
    #[inline]
    pub(super) fn append(self) -> bool {
        const USUAL: Flags = Flags::PROTOCOL_OUT;
        const UNUSUAL: Flags = Flags::PRODUCER.union(Flags::OBSERVED).union(Flags::CHANGED).union(Flags::BROKEN);
        self.intersection(USUAL.union(UNUSUAL)) == USUAL
    }
}
