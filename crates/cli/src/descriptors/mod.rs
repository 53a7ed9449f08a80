//! How many descriptors the process may have, and what follows for how many connections it takes.

#[cfg(unix)]
#[path = "unix.rs"]
mod limit;
#[cfg(not(unix))]
#[path = "other.rs"]
mod limit;

/// How many connections are enough for a program that tries things out.
const ENOUGH: usize = 10_000;

/// Descriptors that connections leave alone: standard streams, the reactor's own, ports, the directory served.
const RESERVED: usize = 20;

/// As many connections as the descriptors suffice for, when each needs `each` of them.
pub(crate) fn connections(each: usize) -> usize {
    limit::raise().map_or(ENOUGH, |limit| connections_within(limit, each))
}

fn connections_within(limit: usize, each: usize) -> usize {
    (limit.saturating_sub(RESERVED) / each).clamp(1, ENOUGH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(connections_within(64, 1), 44);
        assert_eq!(connections_within(64, 2), 22);
        assert_eq!(connections_within(5, 2), 1);
        assert_eq!(connections_within(1 << 20, 2), ENOUGH);
    }
}
