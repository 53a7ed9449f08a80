//! A lock among processes at a path: Twisted's `FilesystemLock`.

#[cfg_attr(unix, path = "symlink.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

pub use system::FileLock;
#[cfg(unix)]
pub(crate) use system::{Attempt, Protected};
