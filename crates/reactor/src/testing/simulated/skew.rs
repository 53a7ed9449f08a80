//! The difference between a host's clock and the network's time.

use std::time::Duration;

use ropewalk_proto::Moment;

/// One second in the unit of [`Skew::drift`].
const MILLION: i128 = 1_000_000;

/// The error of a host's clock against the time of its network.
///
/// The error applies to both clocks of a reactor: [`now`](crate::Reactor::now) and the wall clock.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::{SimulatedNetwork, Skew};
///
/// let network = SimulatedNetwork::seeded(7);
/// let exact = network.host("10.0.0.1");
/// let early = network.skewed_host("10.0.0.2", Skew::none().ahead(Duration::from_secs(5)));
/// let quick = network.skewed_host("10.0.0.3", Skew::none().drift(10_000)); // 1 % too fast
/// network.advance(Duration::from_secs(100));
/// assert_eq!([exact.seconds(), early.seconds(), quick.seconds()], [100.0, 105.0, 101.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Skew {
    ahead: Duration,
    drift: i32,
}

impl Skew {
    /// Returns the skew of an exact clock.
    pub fn none() -> Skew {
        Skew::default()
    }

    /// Puts the clock ahead of the network's time by `ahead`.
    ///
    /// To make one clock late, put the clocks of the other hosts ahead.
    pub fn ahead(mut self, ahead: Duration) -> Skew {
        self.ahead = ahead;
        self
    }

    /// Lets the clock run faster by `parts_per_million` of the time, or slower if `parts_per_million` is negative.
    ///
    /// # Panics
    /// When `parts_per_million` is -1,000,000 or less, because the clock would stop.
    pub fn drift(mut self, parts_per_million: i32) -> Skew {
        let drift = parts_per_million;
        assert!(i128::from(drift) > -MILLION, "a drift of {drift} ppm stops the clock: expected more than -1000000");
        self.drift = parts_per_million;
        self
    }

    /// Returns the host's time at `network` time.
    pub(crate) fn host_time(self, network: Moment) -> Moment {
        let nanos = i128::from(network.as_nanos()) * self.rate() / MILLION;
        moment(nanos) + self.ahead
    }

    /// Returns the first moment of the network's time at which the host's clock shows `host`.
    pub(crate) fn network_time(self, host: Moment) -> Moment {
        let nanos = i128::from((host - (Moment::ZERO + self.ahead)).as_nanos() as u64) * MILLION;
        moment((nanos + self.rate() - 1) / self.rate())
    }

    fn rate(self) -> i128 {
        MILLION + i128::from(self.drift)
    }
}

fn moment(nanos: i128) -> Moment {
    u64::try_from(nanos).map_or(Moment::NEVER, Moment::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_time_is_the_first_moment_with_that_host_time() {
        for drift in [-999_999, -250_000, -7, 0, 3, 200, 1_000_000] {
            let skew = Skew::none().ahead(Duration::from_nanos(12_345)).drift(drift);
            for nanos in [12_345, 12_346, 99_999, 1_000_000_007] {
                let host = Moment::from_nanos(nanos);
                let at = skew.network_time(host);
                assert!(skew.host_time(at) >= host, "{drift}: {at:?}");
                let before = at.as_nanos().checked_sub(1).map(Moment::from_nanos);
                assert!(before.is_none_or(|before| skew.host_time(before) < host), "{drift}: {at:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "stops the clock")]
    fn a_drift_that_stops_the_clock_is_rejected() {
        let _ = Skew::none().drift(-1_000_000);
    }
}
