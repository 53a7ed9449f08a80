//! The two kinds of handle of an operating system.
//!
//! A *socket* carries streams. A *waitable* is something that an event loop can wait for. On Unix both are descriptors.
//! On Windows a socket is a SOCKET and a waitable is a HANDLE, and neither can be converted into the other.

#[cfg(unix)]
pub use std::os::fd::{OwnedFd as OwnedSocket, OwnedFd as OwnedWaitable, RawFd as RawSocket, RawFd as RawWaitable};

#[cfg(windows)]
pub use std::os::windows::io::{OwnedHandle as OwnedWaitable, OwnedSocket, RawHandle as RawWaitable, RawSocket};
