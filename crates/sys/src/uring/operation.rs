//! What the kernel is doing for us.
//!
//! An operation has no place of its own: its completion names the source and the verb (`token.rs`), of which a source has one
//! at a time at most, and the source knows which of them are under way. They stay under way until their last completion,
//! whatever becomes of the source: a cancel that was asked for frees nothing. So a late completion finds no source under its
//! key, and then only the buffer that it brings is given back to the ring.

use bitflags::bitflags;

bitflags! {
    /// Operations of a source.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Verbs: u8 {
        /// Goes on until it is cancelled, the stream ends or buffers lack.
        const RECEIVE = 1 << 0;
        /// A poll that says that more has arrived: once for a new connection, again and again for a busy one.
        const ARRIVAL = 1 << 1;
        /// What is to be read: there is one of the two.
        const STREAM = Verbs::RECEIVE.bits() | Verbs::ARRIVAL.bits();
        /// Once.
        const POLL = 1 << 2;
        /// A poll, once, for the hang-up of a connection.
        ///
        /// A receive that goes on is not told of a hang-up or reset that came before it had read the last bytes, if the
        /// kernel believes that it knows that nothing is left: seen on Linux 6.18 behind more than 32 buffers at once, over
        /// UNIX sockets for the end of the stream and over TCP for a reset. Then nothing would ever come.
        const HANGUP = 1 << 3;
    }
}

/// The operations that were begun and have not had their last completion.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    begun: u64,
    ended: u64,
    /// How many of them use the ring's buffers.
    pub(super) receives: usize,
}

impl UnderWay {
    pub(super) fn begins(&mut self, verb: Verbs) {
        self.begun += 1;
        self.receives += usize::from(verb == Verbs::RECEIVE);
    }

    pub(super) fn ends(&mut self, verb: Verbs) {
        self.ended += 1;
        self.receives -= usize::from(verb == Verbs::RECEIVE);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun == self.ended
    }

    #[cfg(test)]
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }
}
