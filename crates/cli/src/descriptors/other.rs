//! Systems without a limit on descriptors.

/// Returns `None`: there is no limit to raise.
pub(super) fn raise() -> Option<usize> {
    None
}
