//! The fair share of one connection in one turn.

/// The number of receives.
pub(super) const READS_PER_TURN: usize = 32;

/// The number of received bytes after which the other connections have their turn.
pub(super) const BYTES_PER_TURN: usize = 256 * 1024;
