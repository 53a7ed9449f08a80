//! Timeouts for the system calls.

use std::time::Duration;

use rustix::event::Timespec;

/// The longest timeout that every system call here accepts: an `int` of milliseconds, 24.8 days.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Returns `timeout`, or the longest timeout that every system call accepts if `timeout` is longer.
pub(super) fn shortened(timeout: Duration) -> Duration {
    timeout.min(LONGEST)
}

/// Shortens `timeout` as [`shortened`] does, and converts it for the system calls.
pub(super) fn timespec(timeout: Duration) -> Timespec {
    Timespec::try_from(shortened(timeout)).expect("24.8 days fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_durations_are_shortened() {
        assert_eq!(timespec(Duration::MAX).tv_sec, i64::from(i32::MAX) / 1000);
        assert_eq!(timespec(Duration::from_nanos(1)).tv_nsec, 1);
    }
}
