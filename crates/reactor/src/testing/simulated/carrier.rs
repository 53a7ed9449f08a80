//! The means that carries the bytes of a connection.

use ropewalk_sys::PipeEnd;

/// The carrier of a connection. Everything but a network is inside one machine: bytes arrive at once, and no fault of a
/// network breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// TCP or a named UNIX socket, with the latency and the faults of the network.
    Network,
    /// One end of a pipe to a child.
    Pipe(PipeEnd),
    /// One end of a socketpair(2).
    SocketPair,
    /// The master or the child's side of a pseudo-terminal, without a line discipline.
    Terminal,
}

impl Carrier {
    /// Whether this end can receive.
    pub(super) fn receives(self) -> bool {
        !self.only_sends()
    }

    /// Whether this is the writing end of a pipe.
    pub(super) fn only_sends(self) -> bool {
        matches!(self, Carrier::Pipe(end) if !end.reads())
    }

    /// Whether the sending direction can be shut down alone.
    pub(super) fn has_directions(self) -> bool {
        matches!(self, Carrier::Network | Carrier::SocketPair)
    }

    /// Whether the peer is reset when this end is closed with unread bytes.
    pub(super) fn resets(self) -> bool {
        self.has_directions()
    }
}
