//! Noticing fork(2): a child that goes on with its parent's epoll descriptor would steal and disturb its events.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

/// How many forks lie between the first call of this, in this process or an ancestor, and this process.
///
/// Costs no system call. May be called from any thread.
///
/// ```
/// let before = ropewalk_sys::forks();
/// assert_eq!(ropewalk_sys::forks(), before); // nobody has forked; a child sees one more
/// ```
pub fn forks() -> u64 {
    system::forks()
}
