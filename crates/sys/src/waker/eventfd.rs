//! eventfd(2): a counter in the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::descriptor::put_under;
use rustix::event::{EventfdFlags, eventfd};

pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn new() -> io::Result<Channel> {
        Ok(Channel(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Puts a new counter under the same number.
    pub(super) fn replace(&self) -> io::Result<()> {
        let fresh = Channel::new()?;
        put_under(&self.0, &fresh.0)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Makes the descriptor readable. Async-signal-safe.
    pub(super) fn notify(&self) {
        // EAGAIN means that the counter is full, so that the descriptor is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Drains the eventfd, and returns the number of notifications.
    pub(super) fn drain(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }
}
