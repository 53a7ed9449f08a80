//! Pieces of files in memory, within a bound over all connections.
//!
//! A response to a slow reader holds one piece in hyper and one in its outbox. Pieces are long while few responses wait.
//! Once [`LONG_PIECES_MAX`] bytes are held, further pieces are short. A crowd of slow readers cannot fill the memory, and
//! every response continues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The number of bytes in a long piece. Shorter pieces cost more turns. Longer ones cost more memory for each slow
/// reader.
pub(super) const LONG_PIECE: usize = 64 * 1024;

/// The number of bytes in a short piece.
const SHORT_PIECE: usize = 8 * 1024;

/// The number of held bytes from which pieces are short.
const LONG_PIECES_MAX: usize = 64 << 20;

/// Counts the bytes of all pieces of a site.
#[derive(Default)]
pub(super) struct Pieces {
    held: AtomicUsize,
}

impl Pieces {
    /// Allocates a piece of at most `wanted` bytes, which are zero.
    pub(super) fn allocate(self: &Arc<Pieces>, wanted: u64) -> Piece {
        let is_scarce = self.held.load(Ordering::Relaxed) >= LONG_PIECES_MAX;
        let longest = if is_scarce { SHORT_PIECE } else { LONG_PIECE };
        let length = usize::try_from(wanted).map_or(longest, |wanted| wanted.min(longest));
        self.held.fetch_add(length, Ordering::Relaxed);
        Piece { bytes: vec![0; length], counted: length, pieces: self.clone() }
    }
}

/// A piece of a file. Its bytes count until it is dropped.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    counted: usize,
    pieces: Arc<Pieces>,
}

impl Piece {
    /// Returns the bytes, which still count as held.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pieces.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_short_when_many_are_held() {
        let pieces = Arc::<Pieces>::default();
        let mut held =
            Vec::from_iter((0..LONG_PIECES_MAX / LONG_PIECE).map(|_| pieces.allocate(u64::MAX).into_bytes()));
        assert!(held.iter().all(|piece| piece.len() == LONG_PIECE));
        assert_eq!(pieces.allocate(u64::MAX).bytes.len(), SHORT_PIECE);
        assert_eq!(pieces.allocate(10).bytes.len(), 10);
        held.pop();
        assert_eq!(pieces.allocate(u64::MAX).bytes.len(), LONG_PIECE);
        drop(held);
        assert_eq!(pieces.held.load(Ordering::Relaxed), 0);
    }
}
