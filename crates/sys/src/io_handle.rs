//! What the operating system calls an open socket, pipe or file: a descriptor on Unix, a socket on Windows.

#[cfg(unix)]
pub use std::os::fd::{AsFd as AsIo, AsRawFd as AsRawIo, BorrowedFd as BorrowedIo, OwnedFd as OwnedIo, RawFd as RawIo};

#[cfg(windows)]
pub use std::os::windows::io::{
    AsRawSocket as AsRawIo, AsSocket as AsIo, BorrowedSocket as BorrowedIo, OwnedSocket as OwnedIo, RawSocket as RawIo,
};
