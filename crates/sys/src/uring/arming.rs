//! Begins and cancels operations.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{opcode, squeue, types};
use ropewalk_proto::Key;
use rustix::io::{DupFlags, fcntl_dupfd_cloexec};

use super::buffers::{Buffers, GROUP};
use super::operation::{UnderWay, Verbs};
use super::ring::{Ring, Setup};
use super::slot::{Connection, Resource};
use super::{PASSES, Uring, token};
use crate::io_handle::RawWaitable;
use crate::seam::Interest;

impl Uring {
    /// Begins the operations that a source wants and does not have.
    pub(super) fn arm(&mut self, key: Key) {
        let Some(source) = self.sources.get_mut(key).filter(|_| !self.ending) else { return };
        if source.has_the_wrong_stream() {
            return self.cancel(key, Verbs::STREAM);
        }
        let fd = types::Fd(source.raw_fd());
        if !source.under_way.intersects(Verbs::STREAM) && source.wants_stream() {
            let (entry, verb) = match &source.resource {
                Resource::Connection(connection) if !connection.is_busy() => {
                    (opcode::RecvMulti::new(fd, GROUP).build(), Verbs::RECEIVE)
                }
                Resource::Connection(connection) if connection.is_new() => (poll(fd, Interest::READ), Verbs::ARRIVAL),
                _ => (arrivals(fd), Verbs::ARRIVAL),
            };
            self.begin(key, verb, entry);
        }
        let Some(source) = self.sources.get(key) else { return };
        if !source.under_way.contains(Verbs::HANGUP) && source.wants_hangup() {
            // The peer's half-close is no loss, so the poll for a loss continues after it.
            let looks_for_loss = match &source.resource {
                Resource::Connection(connection) => connection.looks_for_loss(),
                _ => true,
            };
            let entry = if looks_for_loss { poll_on(fd, Interest::empty()) } else { poll(fd, Interest::empty()) };
            self.begin(key, Verbs::HANGUP, entry);
        }
        let Some(source) = self.sources.get_mut(key) else { return };
        let interest = source.wants_poll();
        if let Some(polling) = source.polling() {
            let before = std::mem::replace(&mut polling.polled, interest);
            if source.under_way.contains(Verbs::POLL) && before != interest {
                // The poll that follows asks for what the owner wants now.
                return self.cancel(key, Verbs::POLL);
            }
        }
        if !source.under_way.contains(Verbs::POLL) && !interest.is_empty() {
            let entry = if source.half_closed { poll_on(fd, interest) } else { poll(fd, interest) };
            self.begin(key, Verbs::POLL, entry);
        }
    }

    fn begin(&mut self, key: Key, verb: Verbs, entry: squeue::Entry) {
        if let Some(source) = self.sources.get_mut(key) {
            source.under_way |= verb;
            self.under_way.begins(verb);
            self.ring.push(entry.user_data(token::of_source(key, verb)));
        }
    }

    /// Cancels the operations of `verbs` that are in flight. They stay in flight until their last completion.
    pub(super) fn cancel(&mut self, key: Key, verbs: Verbs) {
        let Some(source) = self.sources.get_mut(key) else { return };
        let verbs = (source.under_way & verbs) - source.cancelled;
        source.cancelled |= verbs;
        for verb in verbs.iter() {
            self.push_cancel(token::of_source(key, verb));
        }
    }

    pub(super) fn push_cancel(&mut self, token: u64) {
        let cancel = opcode::AsyncCancel::new(token).build();
        self.ring.push(cancel.user_data(token::IGNORED).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Stops reading a source. Its bytes in the ring's buffers are moved out. Before the loop waits, its multishot
    /// operation is cancelled, unless the owner reads again by then.
    pub(super) fn spill_unread(&mut self, key: Key) {
        let Some(source) = self.sources.get_mut(key) else { return };
        if let Resource::Connection(connection) = &mut source.resource {
            spill(&mut self.buffers, connection);
        }
        if source.under_way.intersects(Verbs::STREAM) {
            self.unwanted.push(key);
        }
    }

    pub(super) fn cancel_unwanted(&mut self) {
        while let Some(key) = self.unwanted.pop() {
            if self.sources.get(key).is_some_and(|source| !source.wants_stream()) {
                self.cancel(key, Verbs::STREAM);
            }
        }
    }

    pub(super) fn poll_bell(&mut self) {
        if !std::mem::replace(&mut self.bell_is_polled, true) {
            let fd = types::Fd(self.bell.fd().as_raw_fd());
            self.ring.push(poll(fd, Interest::READ).user_data(token::RUNG));
        }
    }

    /// Adds buffers if many connections used the ring's buffers up. If a few connections used them up, the number
    /// stays, and connections that found no buffer are polled from now on.
    pub(super) fn grow_if_dry(&mut self) {
        if !std::mem::take(&mut self.ran_dry) {
            return;
        }
        self.buffers.reclaim();
        if !self.buffers.are_scattered() {
            tracing::debug!("the receive buffers ran dry under bulk: connections without a buffer are polled");
        } else if self.buffers.grow() {
            tracing::debug!(buffers = self.buffers.count(), "the receive buffers ran dry; now there are more");
        } else {
            tracing::debug!(
                buffers = self.buffers.count(),
                "the receive buffers ran dry, and their number is at its limit"
            );
        }
    }

    /// Submits everything, and makes the descriptor of a host loop readable if events are known.
    pub(super) fn submit_everything(&mut self) -> io::Result<()> {
        self.cancel_unwanted();
        self.poll_bell();
        self.rearm_due();
        for _ in 0..PASSES {
            self.enter(None)?;
            // An operation that was cancelled has ended in this call, and another one takes its place.
            if self.rearm_due() || self.rung {
                break;
            }
            if !self.ring.is_behind() {
                return Ok(());
            }
        }
        self.post_nop()
    }

    /// Leaves a completion in the queue, which makes the ring readable.
    fn post_nop(&mut self) -> io::Result<()> {
        self.ring.push(opcode::Nop::new().build().user_data(token::IGNORED));
        self.ring.enter(None).map(drop)
    }

    /// Returns the descriptor that a host loop watches. The descriptor is a copy of the ring's, so that its number
    /// stays when the ring is replaced.
    pub(super) fn host_fd(&mut self) -> io::Result<RawWaitable> {
        if self.host_copy.is_none() {
            self.host_copy = Some(fcntl_dupfd_cloexec(self.ring_fd(), 0)?);
        }
        Ok(self.host_copy.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    fn ring_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps the descriptor open for as long as the ring is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.fd()) }
    }

    /// Changes to a plain ring, which is slower. With DEFER_TASKRUN only the first thread may wait, and a host loop
    /// that sleeps on the ring is not woken.
    pub(super) fn downgrade_ring(&mut self) -> io::Result<()> {
        if self.ending {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        if self.ring.setup() == Setup::Plain {
            return Ok(());
        }
        tracing::debug!("io_uring continues without DEFER_TASKRUN");
        // Takes the old ring's completions before it is replaced.
        self.take_completions();
        let ring = Ring::open(Setup::Plain)?;
        self.batch.reset(true);
        self.replace_ring(ring, true)
    }

    /// Continues with another ring, which has no operations yet. If `goes_on` is false, closed connections stop
    /// draining.
    pub(super) fn replace_ring(&mut self, ring: Ring, goes_on: bool) -> io::Result<()> {
        let buffers = Buffers::new(&ring)?;
        let keys: Vec<_> = self.sources.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.forget_operations(key);
        }
        // In a child the buffers are a copy that the kernel does not use.
        let in_use = !self.ring.is_inherited() && self.under_way.receives > 0;
        self.under_way = UnderWay::default();
        // The buffers follow their ring at once: the kernel knows them from now on.
        drop(std::mem::replace(&mut self.ring, ring));
        let old = std::mem::replace(&mut self.buffers, buffers);
        if in_use {
            // The operations of the old ring end some time later, so its buffers must stay.
            old.keep_for_ever();
        }
        self.bell_is_polled = false;
        self.poll_bell();
        self.restart_drains(goes_on);
        self.rearm_due();
        self.replace_host_copy()
    }

    /// Makes the descriptor of a host loop refer to the present ring.
    fn replace_host_copy(&mut self) -> io::Result<()> {
        let Some(mut host_copy) = self.host_copy.take() else { return Ok(()) };
        let outcome = rustix::io::dup3(self.ring_fd(), &mut host_copy, DupFlags::CLOEXEC);
        self.host_copy = Some(host_copy);
        Ok(outcome?)
    }

    fn forget_operations(&mut self, key: Key) {
        let Some(source) = self.sources.get_mut(key) else { return };
        source.ended(Verbs::all());
        if let Resource::Connection(connection) = &mut source.resource {
            spill(&mut self.buffers, connection);
        }
        self.mark_due(key);
    }
}

/// Moves a connection's bytes out of the ring's buffers into its own memory.
pub(super) fn spill(buffers: &mut Buffers, connection: &mut Connection) {
    if !connection.chain.is_empty() {
        let mut chain = std::mem::take(&mut connection.chain);
        buffers.take_all(&mut chain, connection.held());
    }
}

/// Builds a poll that completes when more data has arrived or the peer has closed its sending direction.
fn arrivals(fd: types::Fd) -> squeue::Entry {
    poll_on(fd, Interest::READ)
}

/// Builds a poll. io_uring also reports the peer's half-close (POLLRDHUP) unasked. So a half-closed connection that
/// waits to write uses `poll_on`: this poll would complete at once each time.
fn poll(fd: types::Fd, interest: Interest) -> squeue::Entry {
    opcode::PollAdd::new(fd, poll_flags(interest)).build()
}

/// Builds a multishot poll: it completes at once if there is something to report, and then with each change.
pub(super) fn poll_on(fd: types::Fd, interest: Interest) -> squeue::Entry {
    opcode::PollAdd::new(fd, poll_flags(interest)).multi(true).build()
}

fn poll_flags(interest: Interest) -> u32 {
    let mut flags = 0;
    for (part, flag) in [(Interest::READ, libc::POLLIN), (Interest::WRITE, libc::POLLOUT)] {
        if interest.contains(part) {
            flags |= flag as u32;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::mem;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    use super::super::tests::{connection, provider, take, until};
    use super::*;

    /// dup3(2): EBADF for a number beyond the limit of the process.
    #[test]
    fn a_ring_without_a_host_copy_receives_into_its_own_buffers() {
        let mut provider = provider();
        let (key, mut peer) = connection(&mut provider);
        // SAFETY: no process has a descriptor with this number, and the value is forgotten below.
        provider.host_copy = Some(unsafe { OwnedFd::from_raw_fd(RawFd::MAX) });
        let outcome = provider.replace_ring(Ring::open(Setup::Plain).unwrap(), true);
        mem::forget(provider.host_copy.take());
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EBADF));
        peer.write_all(b"hello").unwrap();
        let mut received = [0; 8];
        until(&mut provider, |provider, _| take(provider, key, &mut received) == 5);
        assert_eq!(&received[..5], b"hello");
    }
}
