//! ropewalk's operating system: event providers, sockets, signals and wakers.
//!
//! This is the only crate with `unsafe`. It never calls user code and never knows what a descriptor means.

mod detach;
mod file_events;
mod file_lock;
#[cfg(unix)]
mod filesystem;
mod fork;
mod identity;
mod inherited;
mod io_handle;
mod memory;
mod names;
#[cfg(unix)]
mod pipe;
#[cfg(unix)]
mod process;
mod providers;
#[cfg(unix)]
mod raw_descriptor;
#[cfg(unix)]
mod readiness;
mod seam;
mod serial;
pub mod signals;
#[cfg(unix)]
mod socket;
mod system_error;
mod terminal;
#[cfg(target_os = "linux")]
mod uring;
mod waker;

pub use detach::{Detached, detach};
pub use file_events::{FILE_RECORD_BYTES, FileEntry, FileEvents, FileIdentity, FileRecord, Happened, look_at};
pub use file_lock::FileLock;
pub use fork::forks;
pub use identity::Identity;
pub use inherited::{InheritedDescriptors, inherited, take_standard_streams};
pub use io_handle::{OwnedSocket, OwnedWaitable, RawSocket, RawWaitable};
pub use memory::release_free_memory;
pub use names::{IpFamily, check_name, is_family_missing, look_up, zone_number};
pub use providers::{Provider, providers};
pub use seam::*;
pub use serial::SerialDevice;
pub use system_error::{
    explained_error, is_message_too_long, is_out_of_buffers, message_too_long, system_error, too_many_descriptors,
};
pub use terminal::{TerminalMode, TerminalModeGuard, window_size};
pub use waker::{Wake, Waker};
