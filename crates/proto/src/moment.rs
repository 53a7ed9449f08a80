//! A point on a reactor's monotonic clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: the number of nanoseconds since the clock of the event provider started. The clock never goes back.
///
/// A moment is not a [`std::time::Instant`], because a simulated provider cannot create one, and because timers compare
/// a single integer. The range is 584 years. A later time saturates at [`Moment::NEVER`], so no delay overflows.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_proto::Moment;
///
/// let noon = Moment::from_nanos(5_000_000_000);
/// assert_eq!(noon + Duration::from_secs(1), Moment::from_nanos(6_000_000_000));
/// assert_eq!(noon.since(Moment::ZERO), Duration::from_secs(5));
/// assert_eq!(Moment::ZERO - noon, Duration::ZERO); // saturates
/// assert_eq!((noon + Duration::MAX, noon.as_nanos()), (Moment::NEVER, 5_000_000_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The start of each provider's clock.
    pub const ZERO: Moment = Moment(0);
    /// The end of the range: a deadline that no clock reaches.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// Creates the moment `nanos` nanoseconds after [`Moment::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    /// Returns the number of nanoseconds since [`Moment::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later than `self`.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates at [`Moment::NEVER`].
    fn add(self, delay: Duration) -> Moment {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    /// Saturates at zero, like [`Moment::since`].
    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_beyond_the_range_saturates() {
        assert_eq!(Moment::from_nanos(5) + Duration::MAX, Moment::NEVER);
        assert_eq!(Moment::ZERO + Duration::from_secs(1_000_000_000_000), Moment::NEVER);
    }

    #[test]
    fn the_difference_to_a_later_moment_is_zero() {
        assert_eq!(Moment::ZERO - Moment::from_nanos(7), Duration::ZERO);
    }
}
