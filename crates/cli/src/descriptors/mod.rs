//! The default limit on connections, which follows from the limit on open file descriptors.

#[cfg(unix)]
#[path = "unix.rs"]
mod limit;
#[cfg(not(unix))]
#[path = "other.rs"]
mod limit;

/// The default limit where the descriptors suffice for it.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;

/// Descriptors kept for other uses: standard streams, the reactor's own, ports, the served directory.
const RESERVED: usize = 20;

/// Returns `chosen`, or else how many connections the descriptors suffice for. A connection takes `each` descriptors.
pub(crate) fn connection_limit(chosen: Option<usize>, each: usize) -> usize {
    chosen.unwrap_or_else(|| limit::raise().map_or(CONNECTIONS_MAX, |limit| connections_within(limit, each)))
}

fn connections_within(limit: usize, each: usize) -> usize {
    (limit.saturating_sub(RESERVED) / each).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_for_other_uses() {
        assert_eq!(connections_within(64, 1), 44);
        assert_eq!(connections_within(64, 2), 22);
        assert_eq!(connections_within(5, 2), 1);
        assert_eq!(connections_within(1 << 20, 2), CONNECTIONS_MAX);
    }
}
