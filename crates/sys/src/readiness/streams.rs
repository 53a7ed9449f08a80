//! Streams: ports, attempts to connect, and connections.

use std::io;

use ropewalk_proto::{Address, Key, Outbox};
use rustix::io::Errno;

use super::registration::Registration;
use super::selector::{Selector, Trigger, Watch};
use super::{Readiness, rearm_later, want};
use crate::io_handle::{OwnedSocket, OwnedWaitable};
use crate::pipe::Pipe;
use crate::seam::{
    Adoption, ConnectSpec, Kind, ListenSpec, PipeEnd, Pipes, Received, Released, Sent, Sharing, Streams,
};
use crate::socket::table::{HasSocket, not_a_connection, socket, stale};
use crate::socket::{accept, address, adopt, connect, listen, option, transfer};

impl<S: Selector> Streams for Readiness<S> {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let (socket, file) = listen::open(spec)?;
        let address = address::local(&socket)?;
        let key = self.insert(Registration::port(socket, file), Watch::empty())?;
        Ok((key, address))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let socket = connect::begin(spec)?;
        let trigger = self.trigger(&spec.address);
        self.insert(Registration::connection(socket, trigger), Watch::WRITE)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let outcome = connect::finish(source.socket()?);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let wanted = source.wanted | Watch::WRITE;
            want(&mut self.selector, source, key, wanted)?;
        }
        outcome
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let Some((socket, peer)) = accept::next(socket(&self.sources, key)?)? else { return Ok(None) };
        let trigger = self.trigger(&peer);
        Ok(Some((self.insert(Registration::connection(socket, trigger), Watch::empty())?, peer)))
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let mut wanted = source.wanted;
        wanted.set(Watch::READ, on);
        wanted.set(Watch::LOSS, !on && source.reports_loss());
        let armed = source.armed;
        want(&mut self.selector, source, key, wanted)?;
        if on && source.unread && armed.contains(Watch::READ) {
            rearm_later(&mut self.left, source, key);
        }
        Ok(())
    }

    // This method is also inlined into `StreamCalls`. Otherwise each message would cost a jump.
    #[inline(always)]
    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let Some(socket) = source.as_socket() else { return self.receive_from_pipe(key, scratch) };
        match transfer::receive_directly(socket, scratch) {
            Ok(0) => Ok(Received::Eof),
            // In the common case a short read took all bytes.
            Ok(count) if count < scratch.len() && !source.stops_short => {
                source.unread = false;
                Ok(Received::Drained(count))
            }
            Ok(count) => {
                self.left_unread(key);
                Ok(Received::Filled(count))
            }
            Err(error) => self.received_nothing(key, error),
        }
    }

    #[inline(always)]
    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let source = self.sources.get(key).ok_or_else(stale)?;
        // In the common case WRITE is not awaited, the outbox is one segment, and one call takes all its bytes.
        if source.wanted.contains(Watch::WRITE) {
            return self.send_on(key, outbox, false);
        }
        let Some(bytes) = outbox.one_segment() else { return self.send_on(key, outbox, false) };
        let Some(socket) = source.as_socket() else { return self.send_on(key, outbox, false) };
        match transfer::send_directly(socket, bytes) {
            Ok(taken) if taken == bytes.len() => {
                outbox.clear();
                Ok(Sent::All)
            }
            // The system took fewer bytes than offered: the socket's buffer is full, so another call would only return
            // EAGAIN.
            Ok(taken) => {
                outbox.advance(taken);
                self.send_on(key, outbox, true)
            }
            Err(Errno::AGAIN) => self.send_on(key, outbox, true),
            Err(Errno::INTR) => self.send_on(key, outbox, false),
            Err(error) => Err(error.into()),
        }
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.sources.get(key).ok_or_else(stale)?.send_slice(bytes)
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        Ok(rustix::net::shutdown(socket(&self.sources, key)?, rustix::net::Shutdown::Write)?)
    }

    fn close(&mut self, key: Key) {
        drop(self.remove(key));
    }

    fn abort(&mut self, key: Key) {
        if let Ok(socket) = socket(&self.sources, key) {
            option::reset_on_close(socket);
        }
        self.close(key);
    }
}

impl<S: Selector> Adoption for Readiness<S> {
    fn adopt(&mut self, socket: OwnedSocket, kind: Kind) -> io::Result<Key> {
        adopt::take_over(&socket, kind)?;
        let source = match kind {
            Kind::StreamPort => Registration::port(socket, None),
            Kind::StreamConnection => Registration::connection(socket, Trigger::Level),
        };
        self.insert(source, Watch::empty())
    }

    fn connect_socket(&mut self, socket: OwnedSocket, address: &Address) -> io::Result<Key> {
        adopt::take_over_to_connect(&socket)?;
        connect::begin_on(&socket, address)?;
        self.insert(Registration::connection(socket, self.trigger(address)), Watch::WRITE)
    }

    fn release(&mut self, key: Key) -> io::Result<Released> {
        let source = self.sources.get(key).ok_or_else(stale)?;
        if !source.is_connection() {
            return Err(not_a_connection());
        }
        let socket = self.remove(key).and_then(Registration::into_connection).ok_or_else(stale)?;
        Ok(Released { socket, received: Vec::new(), unsent: Vec::new() })
    }
}

impl<S: Selector> Pipes for Readiness<S> {
    fn adopt_pipe(&mut self, handle: OwnedWaitable, end: PipeEnd, sharing: Sharing) -> io::Result<Key> {
        let (fd, pipe) = Pipe::adopt(handle, end, sharing)?;
        self.insert(Registration::pipe(fd, pipe), Watch::empty())
    }
}

impl Registration {
    /// Sends from the outbox. Returns whether the descriptor would block.
    fn send_outbox(&self, outbox: &mut Outbox) -> io::Result<bool> {
        match self.as_socket() {
            Some(socket) => transfer::send_outbox(socket, outbox),
            None => self.as_pipe().and_then(|(fd, pipe)| pipe.send_outbox(fd, outbox)),
        }
    }

    fn send_slice(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.as_socket() {
            Some(socket) => transfer::send_slice(socket, bytes),
            None => self.as_pipe().and_then(|(fd, pipe)| pipe.send_slice(fd, bytes)),
        }
    }
}

impl<S: Selector> Readiness<S> {
    /// Returns the trigger for a connection to `peer`. UNIX sockets are level-triggered, because a read stops short at
    /// passed descriptors without any report.
    fn trigger(&self, peer: &Address) -> Trigger {
        match peer {
            Address::Inet(_) => self.trigger,
            _ => Trigger::Level,
        }
    }

    #[inline(never)]
    fn receive_from_pipe(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let (fd, pipe) = self.sources.get(key).ok_or_else(stale)?.as_pipe()?;
        pipe.receive(fd, scratch)
    }

    /// Records that more bytes may be there than `receive` took.
    #[inline(never)]
    pub(super) fn left_unread(&mut self, key: Key) {
        if let Some(source) = self.sources.get_mut(key) {
            source.unread = true;
            rearm_later(&mut self.left, source, key);
        }
    }

    /// Translates the error of a `receive` that took no bytes.
    #[inline(never)]
    pub(super) fn received_nothing(&mut self, key: Key, error: Errno) -> io::Result<Received> {
        match error {
            Errno::AGAIN => self.sources.get_mut(key).ok_or_else(stale)?.unread = false,
            Errno::INTR => self.left_unread(key),
            _ => return Err(error.into()),
        }
        Ok(Received::Empty)
    }

    /// Sends the bytes that one call did not take, unless the socket is `full`. If bytes remain, waits for WRITE.
    #[inline(never)]
    fn send_on(&mut self, key: Key, outbox: &mut Outbox, full: bool) -> io::Result<Sent> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let full = full || source.send_outbox(outbox)?;
        self.sent(key, outbox, full)
    }

    /// Waits for WRITE if bytes remain in the outbox. `full` says whether the socket would block.
    #[inline(always)]
    pub(super) fn sent(&mut self, key: Key, outbox: &Outbox, full: bool) -> io::Result<Sent> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let (wanted, sent) = match outbox.is_empty() {
            true => (source.wanted - Watch::WRITE, Sent::All),
            false => (source.wanted | Watch::WRITE, Sent::Some),
        };
        want(&mut self.selector, source, key, wanted)?;
        if sent == Sent::Some && !full {
            source.unsent = true;
            rearm_later(&mut self.left, source, key);
        }
        Ok(sent)
    }
}
