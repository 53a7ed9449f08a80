//! Limits on the work of one connection in one turn, so that the other connections are served as well.

/// The maximum number of calls of `receive`.
pub(super) const READS_PER_TURN: usize = 32;

/// The number of received bytes after which a connection waits for the next turn.
pub(super) const BYTES_PER_TURN: usize = 256 * 1024;

/// The maximum number of times that a producer is asked for more within one settling.
pub(super) const PIECES_PER_TURN: usize = 16;
