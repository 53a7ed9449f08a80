//! A seeded random number generator, for repeatable tests and for delays that should differ.

use std::time::Duration;

/// Numbers that follow from a seed.
///
/// The generator is [splitmix64](https://prng.di.unimi.it/splitmix64.c). It is small and fast. Do not use its numbers
/// for secrets.
///
/// A plain value, which any thread may use.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_proto::Random;
///
/// let mut random = Random::new(7);
/// let mut cards: Vec<usize> = (0..52).collect();
/// random.shuffle(&mut cards);
/// assert!(random.below(6) < 6);
/// assert!(random.uniform() < 1.0);
/// assert!(random.duration(Duration::from_secs(1)) <= Duration::from_secs(1));
/// assert!(!random.chance(0.0));
/// assert!((random.normal() - 0.0).abs() < 40.0);
/// assert_eq!(random.clone().bits(), random.bits());
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns a generator whose numbers follow from `seed`. Every seed is suitable, even 0.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Returns the next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 up to, not including, `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "the bound of a random number must be at least 1");
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Returns a number from 0 up to, not including, 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns true with this `probability`, from 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Returns a number from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        // Box and Muller's transform of two uniform numbers.
        let distance = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        distance * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Returns a duration from zero to `longest`, both included.
    pub fn duration(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(((u128::from(self.bits()) * (u128::from(nanos) + 1)) >> 64) as u64)
    }

    /// Shuffles `items`. Every order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        // The first values for seed 1234567 in the reference implementation's published test vector.
        let mut random = Random::new(1234567);
        assert_eq!([random.bits(), random.bits()], [6457827717110365317, 3203168211198807973]);
    }

    #[test]
    fn below_returns_every_number_below_the_bound() {
        let mut random = Random::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 120), "{seen:?}");
    }

    #[test]
    fn chance_follows_its_probability() {
        let mut random = Random::new(2);
        assert!((0..1000).all(|_| !random.chance(0.0) && random.chance(1.0)));
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2200..2800).contains(&hits), "{hits}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_duration_stays_within_its_bound() {
        let mut random = Random::new(4);
        assert!((0..1000).all(|_| random.duration(Duration::from_nanos(3)) <= Duration::from_nanos(3)));
        assert_eq!(random.duration(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn normal_numbers_are_standard_normal() {
        let mut random = Random::new(5);
        let numbers: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
