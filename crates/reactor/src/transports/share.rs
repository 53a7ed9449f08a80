//! Limits on what one connection may read in one turn, so that the other connections are served as well.

/// The number of calls of `receive`.
pub(super) const READS_PER_TURN: usize = 32;

/// The number of received bytes after which a connection waits for the next turn.
pub(super) const BYTES_PER_TURN: usize = 256 * 1024;
