//! What a completion says about whose it is: 64 bits that the kernel carries.
//!
//! An operation has its own key, whose index is below 2^31. Above that are those that need no slot.

use ropewalk_proto::Key;

const SEND: u32 = 1 << 31;
const BELL: u32 = u32::MAX - 1;
const NOBODY: u32 = u32::MAX;

/// Of an operation whose completion means nothing: a cancel, a nudge.
pub(super) const IGNORED: u64 = NOBODY as u64;

/// Of the poll of the bell.
pub(super) const RUNG: u64 = BELL as u64;

/// Whose completion it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Operation(Key),
    /// A place in the batch.
    Send(u32),
    Bell,
    Nobody,
}

pub(super) fn of_operation(key: Key) -> u64 {
    debug_assert!(key.index() < SEND);
    key.to_u64()
}

pub(super) fn of_send(index: u32) -> u64 {
    u64::from(SEND | index)
}

pub(super) fn owner(token: u64) -> Owner {
    let key = Key::from_u64(token);
    match key.index() {
        NOBODY => Owner::Nobody,
        BELL => Owner::Bell,
        index if index >= SEND => Owner::Send(index - SEND),
        _ => Owner::Operation(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_the_trip_through_64_bits() {
        let key = Key::new(7, u32::MAX);
        assert_eq!(owner(of_operation(key)), Owner::Operation(key));
        assert_eq!(owner(of_send(7)), Owner::Send(7));
        assert_eq!((owner(RUNG), owner(IGNORED)), (Owner::Bell, Owner::Nobody));
    }
}
