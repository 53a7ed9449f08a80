//! Names of files from bytes that a stranger sent.

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "other.rs"]
mod system;

pub(super) use system::from_bytes;
