//! The limit on open descriptors: getrlimit(2), RLIMIT_NOFILE.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit, and returns the limit in force. `None` means unlimited.
///
/// The soft limit is often 1024, for the sake of programs that use select(2).
pub(super) fn raise() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let in_force = if raised.is_ok() { limit.maximum } else { limit.current };
    in_force.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
