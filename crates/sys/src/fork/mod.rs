//! Detects fork(2): a child that keeps using its parent's epoll descriptor would steal and disturb the parent's events.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

/// Returns the number of forks between the first process that called this function and this process.
///
/// Costs no system call. May be called from any thread.
///
/// ```
/// let before = ropewalk_sys::forks();
/// assert_eq!(ropewalk_sys::forks(), before); // in a child it is one more
/// ```
pub fn forks() -> u64 {
    system::forks()
}
