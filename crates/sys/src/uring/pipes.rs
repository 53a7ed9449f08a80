//! Pipes, terminals and files: a one-shot poll for what the owner wants, and read(2) and write(2) of our own.
//!
//! The kernel's own reads were measured on pipes and gained nothing. A read in flight could also take bytes that
//! belong to the program that reads the terminal next.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ropewalk_proto::{Key, Outbox};

use super::Uring;
use super::polling::Polling;
use super::slot::{Resource, Slot};
use crate::io_handle::OwnedWaitable;
use crate::pipe::Pipe;
use crate::seam::{PipeEnd, Pipes, Ready, Received, Sent, Sharing};

pub(super) struct PipeSlot {
    fd: OwnedFd,
    io: Pipe,
    pub(super) polling: Polling,
    /// The error or hang-up that a poll has seen.
    pub(super) loss: Ready,
    awaits_loss: bool,
}

impl PipeSlot {
    pub(super) fn new(fd: OwnedFd, io: Pipe) -> PipeSlot {
        PipeSlot { fd, io, polling: Polling::default(), loss: Ready::empty(), awaits_loss: false }
    }

    pub(super) fn raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn send_slice(&self, bytes: &[u8]) -> io::Result<usize> {
        self.io.send_slice(self.fd.as_fd(), bytes)
    }

    /// Sets whether the owner waits for the loss. A known loss is reported once for each time that it waits.
    pub(super) fn await_loss(&mut self, on: bool) {
        self.awaits_loss = on && self.io.can_be_lost();
    }

    pub(super) fn looks_for_loss(&self) -> bool {
        self.awaits_loss && self.loss.is_empty()
    }

    /// Returns the readiness to report.
    pub(super) fn ready(&self, reads: bool) -> Ready {
        let ready = self.polling.ready(reads);
        if self.awaits_loss { ready | self.loss } else { ready }
    }

    /// Clears the readiness that has been reported.
    pub(super) fn reported(&mut self) {
        self.polling.reported();
        self.awaits_loss = self.looks_for_loss();
    }
}

impl Pipes for Uring {
    fn adopt_pipe(&mut self, handle: OwnedWaitable, end: PipeEnd, sharing: Sharing) -> io::Result<Key> {
        let (fd, io) = Pipe::adopt(handle, end, sharing)?;
        Ok(self.sources.insert(Slot::pipe(fd, io)))
    }
}

impl Uring {
    pub(super) fn receive_from_pipe(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let pipe = self.source_mut(key)?.as_pipe()?;
        pipe.io.receive(pipe.fd.as_fd(), scratch)
    }

    pub(super) fn send_on_pipe(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let pipe = self.source_mut(key)?.as_pipe()?;
        pipe.io.send_outbox(pipe.fd.as_fd(), outbox)?;
        pipe.polling.awaits_write = false;
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
        pipe.polling.await_write();
        self.arm(key);
        self.submit_for_host()?;
        Ok(Sent::Some)
    }
}

impl Slot {
    pub(super) fn as_pipe(&mut self) -> io::Result<&mut PipeSlot> {
        match &mut self.resource {
            Resource::Pipe(pipe) => Ok(pipe),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the key is not that of a pipe")),
        }
    }
}
