//! What is said of links that lead to themselves.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod system;

pub(super) use system::are_endless;
