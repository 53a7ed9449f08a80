//! The name of a flow's UNIX socket. A target can answer only a socket that has a name.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod system;

pub(super) use system::own_name;
