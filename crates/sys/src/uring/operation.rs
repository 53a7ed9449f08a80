//! Operations in flight.
//!
//! An operation has no record. Its completion names the source and the verb (`token.rs`). A source has at most one
//! operation of each verb, and has a record of the verbs in flight. An operation stays in flight until its last
//! completion, even if the source is gone: a cancel frees nothing. So a late completion may find no source under its
//! key. In this case only the completion's buffer is returned to the ring.

use bitflags::bitflags;

bitflags! {
    /// Operations of a source.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Verbs: u8 {
        /// A multishot receive. It continues until it is cancelled, the stream ends or buffers are missing.
        const RECEIVE = 1 << 0;
        /// A poll for arrived bytes: one-shot for a new connection, multishot for a busy one.
        const ARRIVAL = 1 << 1;
        /// The two operations that read. A source has at most one of them in flight.
        const STREAM = Verbs::RECEIVE.bits() | Verbs::ARRIVAL.bits();
        /// A one-shot poll for the interest of the owner.
        const POLL = 1 << 2;
        /// A poll for the hang-up of a connection: one-shot while it is read, multishot while it is not.
        ///
        /// A multishot receive misses a hang-up or reset from before its last read, if the kernel believes that nothing
        /// is left. Without this poll no event would ever come. The fault was seen on Linux 6.18 after reads that
        /// filled more than 32 buffers at once: over UNIX sockets for the end of the stream, and over TCP for a reset.
        const HANGUP = 1 << 3;
    }
}

/// The operations that were begun and have not had their last completion.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    begun: u64,
    ended: u64,
    /// The number of operations that use the ring's buffers.
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
