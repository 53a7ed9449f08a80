//! Noticing fork(2): a child that keeps using its parent's epoll descriptor would steal and disturb its events.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

/// Returns the number of forks since the first call, in this process or an ancestor.
///
/// Costs no system call. May be called from any thread.
///
/// ```
/// let before = ropewalk_sys::forks();
/// assert_eq!(ropewalk_sys::forks(), before); // a child sees one more
/// ```
pub fn forks() -> u64 {
    system::forks()
}
