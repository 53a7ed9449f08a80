//! Segments between connections: bytes, ends and resets.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_proto::{Key, Moment, Outbox};
use ropewalk_sys::{DescriptorQueue, OwnedWaitable, PassedDescriptors, Received, Sent, system_error};

use super::calendar::Happening;
use super::carrier::Carrier;
use super::connection::{Connection, Phase};
use super::listener::Listener;
use super::machines::MachineId;
use super::network::{Network, Source};
use super::pipe::Segment;

/// Bytes.
impl Network {
    pub(super) fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Listener(listener) => listener.reading = on,
            Source::Connection(connection) => {
                connection.reading = on;
                connection.loss_wanted = !on;
            }
            Source::Datagrams(end) => end.reading = on,
            Source::Process(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    /// Receives bytes, and closes the descriptors that came with them.
    pub(super) fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let received = self.receive_up_to(key, scratch, usize::MAX)?;
        drop(self.connection_mut(key)?.incoming.take_descriptors());
        Ok(received)
    }

    /// Receives bytes up to the end of the first message with descriptors, and these descriptors.
    pub(super) fn receive_with_descriptors(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors,
    ) -> io::Result<Received> {
        let most = self.connection(key)?.incoming.until_message_end().unwrap_or(usize::MAX);
        let received = self.receive_up_to(key, scratch, most)?;
        passed.descriptors.append(&mut self.connection_mut(key)?.incoming.take_descriptors());
        Ok(received)
    }

    fn receive_up_to(&mut self, key: Key, scratch: &mut [u8], most: usize) -> io::Result<Received> {
        let connection = self.connection(key)?;
        let unread = connection.incoming.unread();
        if unread == 0 && connection.reads_end() {
            return Ok(Received::Eof);
        }
        if unread == 0 {
            connection.check()?;
        }
        let wanted = unread.min(scratch.len()).min(most);
        if wanted == 0 {
            return Ok(Received::Empty);
        }
        let limit = if self.faults.short_reads { 1 + self.random.below(wanted) } else { wanted };
        let lends = self.faults.lent_reads && self.random.chance(0.5);
        let room_in_scratch = limit < scratch.len();
        let connection = self.connection_mut(key)?;
        let received = if lends {
            connection.incoming.take(limit).map_or(Received::Empty, Received::Lent)
        } else {
            let count = connection.incoming.read(&mut scratch[..limit]);
            let drained = room_in_scratch && connection.incoming.unread() == 0;
            if drained { Received::Drained(count) } else { Received::Filled(count) }
        };
        Ok(received)
    }

    pub(super) fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let count = self.admit(key, outbox.len())?;
        self.transmit(key, Segment::Bytes(taken_from(outbox, count)));
        self.sent(key, outbox)
    }

    /// Sends bytes, and copies of descriptors with the bytes that carry them.
    pub(super) fn send_with_descriptors(
        &mut self,
        key: Key,
        outbox: &mut Outbox,
        queue: &mut DescriptorQueue,
    ) -> io::Result<Sent> {
        if !self.connection(key)?.is_unix() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !outbox.is_empty() {
            let most = queue.bytes_until_next().unwrap_or(usize::MAX);
            let count = self.admit(key, outbox.len().min(most))?;
            if count == 0 {
                break;
            }
            let copies: Vec<_> = queue.with_next_byte().map(OwnedWaitable::try_clone).collect::<io::Result<_>>()?;
            let bytes = taken_from(outbox, count);
            let is_plain = copies.is_empty();
            self.transmit(key, if is_plain { Segment::Bytes(bytes) } else { Segment::Message(bytes, copies) });
            queue.sent(count);
        }
        self.sent(key, outbox)
    }

    fn sent(&mut self, key: Key, outbox: &Outbox) -> io::Result<Sent> {
        self.connection_mut(key)?.write_wanted = !outbox.is_empty();
        Ok(if outbox.is_empty() { Sent::All } else { Sent::Some })
    }

    pub(super) fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        let count = self.admit(key, bytes.len())?;
        self.transmit(key, Segment::Bytes(Bytes::copy_from_slice(&bytes[..count])));
        Ok(count)
    }

    pub(super) fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        let connection = self.connection_mut(key)?;
        connection.check()?;
        if !connection.carrier.has_directions() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if !std::mem::replace(&mut connection.finished, true) {
            self.send_to_peer(key, Segment::Fin);
        }
        Ok(())
    }

    /// Returns the number of `offered` bytes that this end can send at once.
    fn admit(&mut self, key: Key, offered: usize) -> io::Result<usize> {
        let connection = self.connection(key)?;
        let is_established = connection.phase == Phase::Established;
        if is_established && connection.is_unix() && self.peer_is_gone(connection) {
            // A kernel hands over the bytes of a UNIX socket at once, so the last ones precede this error.
            self.connection_mut(key)?.incoming.arrive_all();
            return Err(system_error(io::ErrorKind::BrokenPipe));
        }
        connection.check()?;
        if connection.finished {
            return Err(system_error(io::ErrorKind::BrokenPipe));
        }
        let most = offered.min(self.room(connection));
        let short = self.faults.short_writes && most > 1;
        Ok(if short { 1 + self.random.below(most) } else { most })
    }

    /// Returns the number of bytes for which the connection has room.
    pub(super) fn room(&self, connection: &Connection) -> usize {
        match connection.peer.and_then(|peer| self.connection(peer).ok()) {
            Some(peer) => peer.incoming.room(),
            None => connection.incoming.capacity().saturating_sub(connection.strayed),
        }
    }

    fn transmit(&mut self, key: Key, segment: Segment) {
        let count = segment.len();
        if count == 0 {
            return;
        }
        let is_outside = self.connection(key).is_ok_and(|connection| connection.carrier == Carrier::Network);
        if is_outside && self.faults.resets > 0.0 && self.random.chance(self.faults.resets) {
            self.send_to_peer(key, Segment::Reset);
            return self.put(key, Segment::Reset, self.now);
        }
        let Ok(connection) = self.connection(key) else { return };
        if self.peer_is_gone(connection) {
            return self.stray(key, count);
        }
        self.send_to_peer(key, segment);
    }

    fn send_to_peer(&mut self, key: Key, segment: Segment) {
        if let Some(peer) = self.connection(key).ok().and_then(|connection| connection.peer) {
            self.put(peer, segment, self.now);
        }
    }

    /// Sends a segment to the end `to`, at the time `sent`.
    pub(super) fn put(&mut self, to: Key, segment: Segment, sent: Moment) {
        let now = self.now;
        let Ok(connection) = self.connection_mut(to) else { return };
        if connection.carrier != Carrier::Network {
            connection.incoming.send(segment, now);
            return connection.incoming.arrive(now);
        }
        let (from, here) = (connection.place.remote_machine, connection.place.machine);
        let arrival = sent + self.delay(from, here);
        let Ok(connection) = self.connection_mut(to) else { return };
        if let Some(at) = connection.incoming.send(segment, arrival) {
            self.calendar.enter(at, from, Happening::Arrived { key: to });
        }
    }

    pub(super) fn arrived(&mut self, key: Key) {
        let now = self.now;
        let Ok(connection) = self.connection(key) else { return };
        let is_cut = self.links.is_cut(connection.place.remote_machine, connection.place.machine);
        match self.connection_mut(key) {
            Ok(connection) if !connection.incoming.is_due(now) => {}
            Ok(_) if is_cut => self.lose_due(key),
            Ok(connection) => connection.incoming.arrive(now),
            Err(_) => {}
        }
    }

    /// Returns the transmission time of the next segment between two machines.
    pub(super) fn delay(&mut self, from: MachineId, to: MachineId) -> Duration {
        let latency = self.links.latency(from, to).unwrap_or(self.faults.latency);
        match self.faults.jitter {
            Duration::ZERO => latency,
            longest => latency + self.random.duration(longest),
        }
    }
}

/// Closing.
impl Network {
    pub(crate) fn close(&mut self, key: Key) {
        match self.sources.remove(key) {
            Some(Source::Listener(listener)) => self.close_listener(key, &listener),
            Some(Source::Connection(connection)) => {
                self.close_connection(&connection);
                if connection.carrier == Carrier::Terminal && self.parent_of(connection.place.owner).is_none() {
                    connection.peer.into_iter().for_each(|slave| self.hang_up(slave));
                }
            }
            Some(Source::Datagrams(end)) => self.machines.get_mut(end.machine).datagrams.remove_listener(key),
            Some(Source::Process(_)) | None => {}
        }
    }

    /// Resets a TCP connection. A UNIX socket has no resets and only closes.
    pub(crate) fn abort(&mut self, key: Key) {
        match self.connection(key) {
            Ok(connection) if connection.place.local.inet().is_some() => self.reset(key),
            _ => self.close(key),
        }
    }

    fn close_listener(&mut self, key: Key, listener: &Listener) {
        self.machines.get_mut(listener.machine).names.remove_listener(key);
        for &accepted in &listener.queue {
            self.reset(accepted);
        }
        for &client in &listener.waiting {
            self.calendar.enter(self.now, listener.machine, Happening::Asked { client, lost: 0 });
        }
    }

    fn close_connection(&mut self, connection: &Connection) {
        self.free_name(connection);
        let Some(peer) = connection.peer.filter(|_| connection.incoming.broken().is_none()) else { return };
        let drops_bytes = connection.incoming.unread() > 0 && connection.carrier.resets();
        if connection.phase == Phase::Connecting || drops_bytes {
            return self.put(peer, Segment::Reset, self.now);
        }
        if !connection.finished {
            self.put(peer, Segment::Fin, self.now);
        }
        if let Some(at) = connection.incoming.next_bytes() {
            self.put(peer, Segment::Reset, at);
        }
    }

    pub(super) fn reset(&mut self, key: Key) {
        let Some(Source::Connection(connection)) = self.sources.remove(key) else { return };
        self.free_name(&connection);
        let Some(peer) = connection.peer else { return };
        if let Ok(peer) = self.connection_mut(peer) {
            peer.incoming.drop_under_way();
        }
        self.put(peer, Segment::Reset, self.now);
    }

    fn free_name(&mut self, connection: &Connection) {
        let local = connection.place.local.inet().filter(|_| connection.owns_name);
        if let Some(local) = local {
            self.machines.get_mut(connection.place.machine).names.free_outgoing(local);
        }
    }
}

/// Takes the first `count` bytes of an outbox.
fn taken_from(outbox: &mut Outbox, count: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let part = outbox.front().len().min(count - bytes.len());
        bytes.extend_from_slice(&outbox.front()[..part]);
        outbox.advance(part);
    }
    bytes.into()
}
