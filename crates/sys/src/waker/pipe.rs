//! A pipe to oneself, pipe(2), for systems without eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::descriptor::put_under;
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};

pub(super) struct Channel {
    reader: OwnedFd,
    /// Kept beside the reader, so that a late notification meets no broken pipe.
    writer: OwnedFd,
}

impl Channel {
    pub(super) fn new() -> io::Result<Channel> {
        let (reader, writer) = rustix::pipe::pipe()?;
        for end in [&reader, &writer] {
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
            ioctl_fionbio(end, true)?;
        }
        Ok(Channel { reader, writer })
    }

    /// Puts a new pipe under the same numbers.
    pub(super) fn replace(&self) -> io::Result<()> {
        let fresh = Channel::new()?;
        put_under(&self.reader, &fresh.reader)?;
        put_under(&self.writer, &fresh.writer)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Makes the reader readable. Async-signal-safe.
    pub(super) fn notify(&self) {
        // EAGAIN means that the pipe is full, so that the reader is readable already.
        let _ = rustix::io::write(&self.writer, &[0]);
    }

    /// Makes the reader unreadable, and returns how often it was notified.
    pub(super) fn drain(&self) -> u64 {
        let mut bytes = [0; 64];
        let mut count = 0;
        while let Ok(read @ 1..) = rustix::io::read(&self.reader, &mut bytes) {
            count += read as u64;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_full_pipe_does_not_block_its_writer() {
        let channel = Channel::new().unwrap();
        assert_eq!(channel.drain(), 0);
        (0..100).for_each(|_| channel.notify());
        assert_eq!(channel.drain(), 100);
        (0..200_000).for_each(|_| channel.notify());
        assert!(channel.drain() > 0);
        assert_eq!(channel.drain(), 0);
        assert!(channel.fd().try_clone_to_owned().is_ok());
    }

    #[test]
    fn a_replaced_channel_keeps_its_descriptor_numbers() {
        let channel = Channel::new().unwrap();
        let number = channel.fd().as_raw_fd();
        channel.notify();
        channel.replace().unwrap();
        assert_eq!((channel.fd().as_raw_fd(), channel.drain()), (number, 0));
        channel.notify();
        assert_eq!(channel.drain(), 1);
    }
}
