//! ropewalk's operating system: event providers, sockets, signals and wakers.
//!
//! This is the only crate with `unsafe`. It never calls user code and never knows what a descriptor means.

mod detach;
mod file_lock;
mod fork;
mod identity;
mod inherited;
mod io_handle;
mod names;
mod provider;
mod providers;
#[cfg(unix)]
mod readiness;
pub mod signals;
#[cfg(unix)]
mod socket;
mod unix_lock;
#[cfg(target_os = "linux")]
mod uring;
mod waker;

pub use detach::{Detached, detach};
pub use file_lock::FileLock;
pub use fork::forks;
pub use identity::Identity;
pub use inherited::{inherited, take_standard_streams};
pub use io_handle::{AsIo, AsRawIo, BorrowedIo, OwnedIo, RawIo};
pub use names::{IpFamily, look_up};
pub use provider::{
    Capabilities, Clock, ConnectSpec, Event, EventProvider, Events, Interest, Kind, ListenSpec, Ready, Received, Sent,
    SocketOption,
};
pub use providers::{Provider, providers};
pub use unix_lock::UnixLock;
pub use waker::{Wake, Waker};
