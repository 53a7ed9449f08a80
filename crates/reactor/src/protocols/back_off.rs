//! Delays between connection attempts: `backoffPolicy`, and the delays of `ReconnectingClientFactory`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use ropewalk_proto::Random;

/// Twisted's defaults for services. The jitter is the longest random addition to a delay.
const SERVICE_INITIAL_DELAY: Duration = Duration::from_secs(1);
const SERVICE_MAX_DELAY: Duration = Duration::from_secs(60);
const SERVICE_FACTOR: f64 = 1.5;
const SERVICE_JITTER: Duration = Duration::from_secs(1);

/// Twisted's defaults for factories. The jitter is the standard deviation as a fraction of the delay. Its value is that
/// of `ReconnectingClientFactory.jitter`: the molar Planck constant times the speed of light, in J m / mol.
const RECONNECTING_MAX_DELAY: Duration = Duration::from_secs(3600);
const RECONNECTING_JITTER: f64 = 0.119_626_565_582;

/// Chooses the delay before the next attempt from the number of failures so far: `retryPolicy`.
///
/// Every `FnMut(u32) -> Duration` implements this trait. `delay` is called on the reactor's thread.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::protocols::RetryPolicy;
///
/// let mut each_second_then_each_minute = |failures| Duration::from_secs(if failures < 10 { 1 } else { 60 });
/// assert_eq!(each_second_then_each_minute.delay(3), Duration::from_secs(1));
/// ```
pub trait RetryPolicy {
    /// Returns the delay after `failures` failed attempts in a row. `failures` is at least 1.
    fn delay(&mut self, failures: u32) -> Duration;
}

impl<F: FnMut(u32) -> Duration> RetryPolicy for F {
    fn delay(&mut self, failures: u32) -> Duration {
        self(failures)
    }
}

/// A policy whose delays grow by a factor up to a maximum, each with a random part. Because of the random part, the
/// many clients of a restarted server do not all connect at once.
///
/// The delay after `n` failures is `initial_delay * factor^n`, at most `max_delay`. This delay is multiplied by a
/// random number around 1 whose standard deviation is `spread`. Then a random delay of at most `jitter` is added.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::protocols::{BackOff, RetryPolicy};
///
/// let mut policy = BackOff::new().factor(2.0).jitter(Duration::ZERO);
/// assert_eq!([1, 2, 3, 100].map(|failures| policy.delay(failures).as_secs()), [2, 4, 8, 60]);
/// ```
#[derive(Clone, Debug)]
pub struct BackOff {
    initial_delay: Duration,
    max_delay: Duration,
    factor: f64,
    spread: f64,
    jitter: Duration,
    random: Random,
}

impl Default for BackOff {
    fn default() -> BackOff {
        BackOff::new()
    }
}

impl BackOff {
    /// Creates a policy whose delays grow from 1 second by a factor of 1.5 up to a minute, plus up to 1 second of
    /// jitter. [`ClientService`](crate::application::ClientService) uses this policy by default.
    pub fn new() -> BackOff {
        BackOff {
            initial_delay: SERVICE_INITIAL_DELAY,
            max_delay: SERVICE_MAX_DELAY,
            factor: SERVICE_FACTOR,
            spread: 0.0,
            jitter: SERVICE_JITTER,
            random: unpredictable(),
        }
    }

    /// Creates a policy whose delays grow from 1 second by a factor of e up to an hour, with a spread of 12 %.
    /// [`ReconnectingClientFactory`](super::ReconnectingClientFactory) uses this policy by default.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::protocols::{BackOff, RetryPolicy};
    ///
    /// let mut policy = BackOff::reconnecting().spread(0.0);
    /// assert_eq!([1, 2, 3, 100].map(|failures| policy.delay(failures).as_secs()), [2, 7, 20, 3600]);
    /// ```
    pub fn reconnecting() -> BackOff {
        let unspread = BackOff::new().factor(std::f64::consts::E).max_delay(RECONNECTING_MAX_DELAY);
        unspread.spread(RECONNECTING_JITTER).jitter(Duration::ZERO)
    }

    /// Sets the delay to which the factor is applied.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::protocols::{BackOff, RetryPolicy};
    ///
    /// let patient = || BackOff::new().initial_delay(Duration::from_secs(10)).max_delay(Duration::from_secs(3600));
    /// let delays = |mut policy: BackOff| [1, 2, 3].map(|failures| policy.delay(failures));
    /// assert_eq!(delays(patient().jitter_seed(7)), delays(patient().jitter_seed(7)));
    /// assert!(delays(patient())[0] >= Duration::from_secs(15));
    /// ```
    #[must_use]
    pub fn initial_delay(mut self, delay: Duration) -> BackOff {
        self.initial_delay = delay;
        self
    }

    /// Sets the maximum of the delay before the random parts are added.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> BackOff {
        self.max_delay = delay;
        self
    }

    /// Sets the factor by which the delay grows with each failure. Values below 1 count as 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> BackOff {
        self.factor = factor.max(1.0);
        self
    }

    /// Sets the standard deviation of the delay as a fraction of the delay: `ReconnectingClientFactory.jitter`. 0 means
    /// no spread.
    ///
    /// The default of [`reconnecting`](BackOff::reconnecting) is 0.12, and that of [`new`](BackOff::new) is 0.
    #[must_use]
    pub fn spread(mut self, part: f64) -> BackOff {
        self.spread = part.max(0.0);
        self
    }

    /// Sets the maximum of the random part that is added.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> BackOff {
        self.jitter = jitter;
        self
    }

    /// Seeds the random numbers, so that a test can be replayed.
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> BackOff {
        self.random = Random::new(seed);
        self
    }

    fn spread_out(&mut self, delay: Duration) -> Duration {
        if self.spread == 0.0 {
            return delay;
        }
        let seconds = delay.as_secs_f64() * (1.0 + self.spread * self.random.normal());
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }
}

impl RetryPolicy for BackOff {
    fn delay(&mut self, failures: u32) -> Duration {
        // Twisted limits the exponent so that floats stay finite. Here an infinite product counts as the maximum. In
        // Twisted's factory each delay grows from the previous random delay, so the delays may shrink to zero. Here the
        // delay grows only with `failures`.
        let grown = self.initial_delay.as_secs_f64() * self.factor.powf(f64::from(failures));
        let grown = Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX).min(self.max_delay);
        self.spread_out(grown).saturating_add(self.jitter.mul_f64(self.random.uniform()))
    }
}

/// Returns a generator with a new seed each time. The standard library seeds its hash tables in this way.
fn unpredictable() -> Random {
    Random::new(RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_maximum_plus_jitter() {
        let mut policy = BackOff::new().jitter_seed(1);
        for (failures, seconds) in [(1, 1.5), (2, 2.25), (10, 57.66), (11, 60.0), (u32::MAX, 60.0)] {
            let delay = policy.delay(failures).as_secs_f64();
            assert!((seconds..seconds + 1.01).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn seeded_jitter_is_uniform() {
        let mut policy = BackOff::new().initial_delay(Duration::ZERO).jitter_seed(7);
        let delays = Vec::from_iter((0..1000).map(|_| policy.delay(1).as_secs_f64()));
        let mean = delays.iter().sum::<f64>() / 1000.0;
        assert!((0.47..0.53).contains(&mean), "{mean}");
        let mut again = BackOff::new().initial_delay(Duration::ZERO).jitter_seed(7);
        assert_eq!(Vec::from_iter((0..1000).map(|_| again.delay(1).as_secs_f64())), delays);
    }

    #[test]
    fn the_spread_is_normally_distributed_around_the_delay() {
        let mut policy = BackOff::reconnecting().jitter_seed(7);
        let delays: Vec<_> = (0..10_000).map(|_| policy.spread_out(Duration::from_secs(100)).as_secs_f64()).collect();
        let mean = delays.iter().sum::<f64>() / 10_000.0;
        let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / 10_000.0).sqrt();
        assert!((mean - 100.0).abs() < 0.5, "mean {mean}");
        assert!((deviation - 11.96).abs() < 0.3, "deviation {deviation}");
        let within = delays.iter().filter(|&&delay| (delay - 100.0).abs() < 11.96).count();
        assert!((6600..7050).contains(&within), "{within} of 10000 within one deviation; 6827 expected");
    }

    #[test]
    fn extreme_parameters_still_give_a_valid_delay() {
        let mut policy = BackOff::new().factor(f64::NAN).max_delay(Duration::MAX).jitter(Duration::ZERO);
        assert_eq!(policy.delay(5), Duration::from_secs(1));
        let mut policy = BackOff::new().factor(f64::INFINITY).max_delay(Duration::MAX);
        assert_eq!(policy.delay(5), Duration::MAX);
        let mut policy = BackOff::reconnecting().factor(f64::INFINITY).spread(1000.0);
        assert!((0..100).any(|_| policy.delay(1) == Duration::ZERO));
        let mut policy = BackOff::reconnecting().factor(f64::NAN).spread(f64::NAN);
        assert_eq!(policy.delay(3), Duration::from_secs(1));
    }
}
