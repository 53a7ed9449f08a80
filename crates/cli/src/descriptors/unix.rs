//! getrlimit(2), RLIMIT_NOFILE.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks for as many descriptors as the administrator allows, and returns how many there may be; `None` is no limit.
///
/// The soft limit is often 1024 for the sake of programs that use select(2).
pub(super) fn raise() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let in_force = if raised.is_ok() { limit.maximum } else { limit.current };
    in_force.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
