//! Random numbers for waits between attempts, so that the clients of a restarted server do not all return at once.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use ropewalk_proto::Random;

/// Returns a generator that differs from one call to the next. The standard library seeds its hash tables likewise.
pub(crate) fn unpredictable() -> Random {
    Random::new(RandomState::new().build_hasher().finish())
}
