//! Systems without fork(2).

pub(super) fn forks() -> u64 {
    0
}
