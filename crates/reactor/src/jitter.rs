//! Random delays, which spread out the clients of a server that comes back.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A splitmix64 generator for the random part of delays. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(Cell<u64>);

impl Jitter {
    /// Creates a generator with an unpredictable seed.
    pub(crate) fn new() -> Jitter {
        Jitter::seeded(RandomState::new().build_hasher().finish())
    }

    /// Creates a generator whose numbers follow from `seed`.
    pub(crate) fn seeded(seed: u64) -> Jitter {
        Jitter(Cell::new(seed))
    }

    /// Returns a number from 0 up to but excluding 1.
    pub(crate) fn uniform(&self) -> f64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number from the standard normal distribution: Box and Muller's transform of two uniform numbers.
    pub(crate) fn normal(&self) -> f64 {
        let distance = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        distance * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
