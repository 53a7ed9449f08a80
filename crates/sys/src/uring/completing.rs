//! Delivers completions to the sources.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Buf, Bytes};
use io_uring::cqueue;
use ropewalk_proto::Key;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::Uring;
use super::arming::spill;
use super::operation::Verbs;
use super::ring::Completion;
use super::slot::{BUSY_BUFFERS, Connection, End, Pace, Resource, Slot, Unsent, errno};
use super::token::{Owner, owner};
use crate::seam::Ready;
use crate::socket::transfer;

impl Uring {
    /// Empties the completion queue, and returns whether there was anything in it.
    pub(super) fn take_completions(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        let any = !completions.is_empty();
        for completion in completions.drain(..) {
            match owner(completion.token) {
                Owner::Source(key, verb) => self.operation_completed(key, verb, completion),
                Owner::Draining(key) => self.drain_completed(key, completion.result, !cqueue::more(completion.flags)),
                Owner::Send(index) => self.send_complained(index, completion.result),
                Owner::Bell => self.bell_rang(),
                Owner::Nobody => {}
            }
        }
        self.completions = completions;
        any
    }

    fn operation_completed(&mut self, key: Key, verb: Verbs, completion: Completion) {
        let ended = !cqueue::more(completion.flags);
        if ended {
            self.under_way.ends(verb);
        }
        let Some(source) = self.sources.get_mut(key) else { return self.give_back(completion) };
        let cancelled = source.cancelled.contains(verb);
        if ended {
            source.ended(verb);
        }
        match verb {
            Verbs::RECEIVE => self.received(key, completion),
            Verbs::ARRIVAL => self.more_arrived(key, completion.result),
            // A cancelled poll may have completed for an older interest, so its result is not used.
            Verbs::POLL if cancelled => self.polled(key, -libc::ECANCELED),
            Verbs::POLL => self.polled(key, completion.result),
            _ => self.hung_up(key, completion.result),
        }
        self.mark_due(key);
    }

    /// Returns the buffer of a receive whose source is gone.
    fn give_back(&mut self, completion: Completion) {
        if let Some(id) = cqueue::buffer_select(completion.flags) {
            self.buffers.returned(id);
        }
    }

    fn received(&mut self, key: Key, completion: Completion) {
        let Some(source) = self.sources.get_mut(key) else { return };
        let reads = source.reads();
        let Resource::Connection(connection) = &mut source.resource else { return self.give_back(completion) };
        match (completion.result, cqueue::buffer_select(completion.flags)) {
            (count @ 1.., Some(id)) => {
                self.buffers.append(&mut connection.chain, id, count as usize);
                if connection.chain.buffers() == BUSY_BUFFERS {
                    connection.pace = Pace::Busy(0);
                }
                if !reads {
                    spill(&mut self.buffers, connection);
                }
            }
            (result, buffer) => {
                match -result {
                    0 => connection.end_with(End::Eof),
                    libc::ENOBUFS => {
                        // A busy connection uses no buffers of the ring, so it need not wait until others return
                        // buffers.
                        connection.pace = Pace::Busy(0);
                        self.ran_dry = true;
                    }
                    libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                    number => connection.end_with(End::Broken(Errno::from_raw_os_error(number))),
                }
                if let Some(id) = buffer {
                    self.buffers.returned(id);
                }
            }
        }
    }

    /// Records that bytes arrived. After a hang-up `receive` asks the system, which returns the end or the error.
    fn more_arrived(&mut self, key: Key, result: i32) {
        if let Ok(connection) = self.source_mut(key).and_then(Slot::as_connection) {
            let cancelled = result == -libc::ECANCELED;
            let last = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
            connection.arrived |= !cancelled;
            connection.hung_up |= !cancelled && (result < 0 || result & i32::from(last) != 0);
        }
    }

    /// Records the result of a poll for readiness. Cancels a poll that has reported readiness, so that the next
    /// poll starts from the present state.
    fn polled(&mut self, key: Key, result: i32) {
        let Some(source) = self.sources.get_mut(key) else { return };
        let is_news = result != -libc::ECANCELED && result != i32::from(libc::POLLRDHUP);
        source.half_closed |= result == i32::from(libc::POLLRDHUP);
        if is_news {
            match &mut source.resource {
                Resource::Connection(connection) => connection.has_room(),
                Resource::Watched(watched) => {
                    let armed = source.wanted.into();
                    watched.fired |= seen(result, armed);
                }
                Resource::Pipe(pipe) => pipe.polling.fired |= seen(result, pipe.polling.polled.into()),
                Resource::Datagrams(datagrams) => {
                    let polling = &mut datagrams.polling;
                    polling.fired |= seen(result, polling.polled.into());
                }
                Resource::Port(port) if result < 0 => port.error = Some(-result),
                Resource::Port(port) => port.arrived = true,
            }
        }
        if is_news {
            self.cancel(key, Verbs::POLL);
        }
    }

    /// Records a hang-up. If the multishot receive has not reported the hang-up after all completions, `receive` asks
    /// the system.
    fn hung_up(&mut self, key: Key, result: i32) {
        let Some(source) = self.sources.get_mut(key).filter(|_| result != -libc::ECANCELED) else { return };
        let loss = seen(result, Ready::empty()) & (Ready::ERROR | Ready::HANGUP);
        match &mut source.resource {
            Resource::Connection(connection) => {
                connection.hung_up = true;
                connection.loss |= loss;
            }
            Resource::Pipe(pipe) => pipe.loss |= loss,
            Resource::Port(_) | Resource::Datagrams(_) | Resource::Watched(_) => {}
        }
    }

    /// Handles a send of the batch that was partial or failed.
    fn send_complained(&mut self, index: u32, result: i32) {
        let Some((send, bytes)) = self.batch.send(index) else { return };
        let Some(source) = self.sources.get_mut(send.key) else { return };
        let Ok(connection) = source.as_connection() else { return };
        let sent = match -result {
            ..=0 => result as usize,
            libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENOBUFS => 0,
            number => {
                connection.send_failed(Errno::from_raw_os_error(number));
                bytes.len()
            }
        };
        if sent < bytes.len() {
            let bytes = Bytes::copy_from_slice(&bytes[sent..]);
            connection.keep_unsent(Unsent { bytes, shutdown: false });
            connection.writable = false;
        }
        self.mark_due(send.key);
    }

    fn bell_rang(&mut self) {
        self.bell_is_polled = false;
        self.rung = true;
        self.bell.drain();
    }
}

impl Connection {
    fn end_with(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
        }
    }

    /// Handles a socket that can send again: sends the unsent bytes first, and reports WRITE when no unsent bytes are
    /// left.
    fn has_room(&mut self) {
        let Some(mut unsent) = self.take_unsent() else {
            self.writable = true;
            return;
        };
        match unsent.send(&self.fd) {
            Ok(true) => self.writable = true,
            Ok(false) => self.keep_unsent(unsent),
            Err(error) => self.send_failed(errno(&error)),
        }
    }
}

impl Unsent {
    /// Sends as much as the socket takes. Returns whether all bytes are sent. When all are sent, carries out a
    /// requested shutdown.
    pub(super) fn send(&mut self, fd: &OwnedFd) -> io::Result<bool> {
        if !self.bytes.is_empty() {
            self.bytes.advance(transfer::send_slice(fd.as_fd(), &self.bytes)?);
        }
        if !self.bytes.is_empty() {
            return Ok(false);
        }
        if self.shutdown {
            shutdown(fd, Shutdown::Write)?;
        }
        Ok(true)
    }
}

/// Translates a poll's result into the seam's terms.
fn seen(result: i32, armed: Ready) -> Ready {
    if result < 0 {
        return if result == -libc::EBADF { Ready::GONE } else { Ready::ERROR | armed };
    }
    let mut ready = Ready::empty();
    let flags = [
        (libc::POLLIN, Ready::READ),
        (libc::POLLOUT, Ready::WRITE),
        (libc::POLLHUP, Ready::HANGUP),
        (libc::POLLERR, Ready::ERROR),
        (libc::POLLNVAL, Ready::GONE),
    ];
    for (flag, part) in flags {
        ready.set(part, result & i32::from(flag) != 0);
    }
    if ready.intersects(Ready::HANGUP | Ready::ERROR) {
        // A hang-up or an error reports everything that is armed. The owner's next calls return the remaining bytes, then
        // the hang-up or the error.
        ready |= armed;
    }
    ready
}
