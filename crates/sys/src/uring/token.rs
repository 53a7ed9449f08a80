//! The owner of a completion, in the 64 bits that the kernel carries.
//!
//! ```text
//!   63        32 31   29 28       0
//!   generation    kind    index        of a source's key, or of whatever else the kind says
//! ```

use ropewalk_proto::Key;

use super::operation::Verbs;

const INDEX_BITS: u32 = 29;

// The numbers below `DRAIN` are the verbs of a source.
const DRAIN: u32 = 4;
const SEND: u32 = 5;
const OTHER: u32 = 7;

/// The token of operations whose completion means nothing: a cancel, or a no-op that wakes the ring.
pub(super) const IGNORED: u64 = (OTHER << INDEX_BITS) as u64;

/// The token of the poll of the bell.
pub(super) const RUNG: u64 = IGNORED + 1;

/// The owner of a completion.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A source's operation.
    Source(Key, Verbs),
    /// The unsent bytes of a closed connection.
    Draining(Key),
    /// A place in the batch.
    Send(u32),
    Bell,
    Nobody,
}

/// Returns the token of a source's operation. `verb` is a single verb.
pub(super) fn of_source(key: Key, verb: Verbs) -> u64 {
    debug_assert!(verb.bits().count_ones() == 1);
    token(verb.bits().trailing_zeros(), key)
}

pub(super) fn of_drain(key: Key) -> u64 {
    token(DRAIN, key)
}

pub(super) fn of_send(index: u32) -> u64 {
    token(SEND, Key::new(index, 0))
}

fn token(kind: u32, key: Key) -> u64 {
    // A process cannot have that many descriptors, so the index fits.
    debug_assert!(key.index() >> INDEX_BITS == 0);
    key.to_u64() | u64::from(kind << INDEX_BITS)
}

pub(super) fn owner(token: u64) -> Owner {
    let key = Key::from_u64(token);
    let kind = key.index() >> INDEX_BITS;
    let key = Key::new(key.index() & ((1 << INDEX_BITS) - 1), key.generation());
    match kind {
        DRAIN => Owner::Draining(key),
        SEND => Owner::Send(key.index()),
        OTHER if token == RUNG => Owner::Bell,
        OTHER => Owner::Nobody,
        verb => Owner::Source(key, Verbs::from_bits_retain(1 << verb)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_the_trip_through_64_bits() {
        let key = Key::new((1 << INDEX_BITS) - 1, u32::MAX);
        for verb in Verbs::all().iter().filter(|verb| verb.bits().count_ones() == 1) {
            assert_eq!(owner(of_source(key, verb)), Owner::Source(key, verb));
        }
        assert_eq!(owner(of_drain(key)), Owner::Draining(key));
        assert_eq!(owner(of_send(7)), Owner::Send(7));
        assert_eq!((owner(RUNG), owner(IGNORED)), (Owner::Bell, Owner::Nobody));
    }
}
