//! How long the operating system is asked to wait.

use std::time::Duration;

use rustix::event::Timespec;

/// 24.8 days: the longest time that every system call here takes, an `int` of milliseconds.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// A timeout that is not too long for any system call.
pub(super) fn shortened(timeout: Duration) -> Duration {
    timeout.min(LONGEST)
}

/// The same as the system calls take it.
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
