//! The lock beside the path of a UNIX socket: Twisted's `wantPID` and `checkPID`.
//!
//! A socket file outlives its process, and bind(2) cannot tell a dead one from one that is served. So a server that
//! asks for it holds `PATH.lock`, a symbolic link to its process id. A lock whose process is gone is broken, and only
//! then a left-over socket file is removed.

#[cfg_attr(unix, path = "symlink.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

pub use system::UnixLock;
