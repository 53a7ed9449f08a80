//! Streams: ports, attempts to connect, and connections.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ropewalk_proto::{Address, Key, Outbox};

use super::arming::spill;
use super::batch::SMALL;
use super::slot::{End, Resource, Slot, errno};
use super::{Host, Uring};
use crate::io_handle::OwnedSocket;
use crate::seam::{Adoption, ConnectSpec, Interest, Kind, ListenSpec, Received, Released, Sent, Streams};
use crate::socket::table::{HasSocket, not_a_connection, not_a_socket, stale};
use crate::socket::{accept, address, adopt, connect, listen, option, transfer};

impl Streams for Uring {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let (socket, file) = listen::open(spec)?;
        let address = address::local(&socket)?;
        Ok((self.sources.insert(Slot::port(socket, file)), address))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let socket = connect::begin(spec)?;
        self.connecting(socket, &spec.address)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        let source = self.source_mut(key)?;
        let outcome = connect::finish(source.socket()?);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let connection = source.as_connection()?;
            connection.awaits_write = true;
            connection.writable = false;
            self.arm(key);
            self.submit_for_host()?;
        }
        outcome
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let source = self.source_mut(key)?;
        if let Some(number) = source.as_port()?.error.take() {
            return Err(io::Error::from_raw_os_error(number));
        }
        let Some((socket, peer)) = accept::next(source.socket()?)? else { return Ok(None) };
        Ok(Some((self.sources.insert(Slot::connection(socket, &peer)), peer)))
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        let source = self.source_mut(key)?;
        match &mut source.resource {
            Resource::Connection(connection) => connection.await_loss(!on),
            Resource::Pipe(pipe) => pipe.await_loss(!on),
            Resource::Port(_) | Resource::Datagrams(_) => {}
            Resource::Watched(_) => return Err(not_a_socket()),
        }
        source.wanted.set(Interest::READ, on);
        self.mark_due(key);
        if on {
            self.arm(key);
        } else {
            self.spill_unread(key);
        }
        self.submit_for_host()
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        if source.is_pipe() {
            return self.receive_from_pipe(key, scratch);
        }
        let receives = source.receives();
        let connection = source.as_connection()?;
        if !connection.holds() {
            if let Some(chunk) = self.buffers.lend(&mut connection.chain) {
                return Ok(Received::Lent(chunk));
            }
        }
        let mut count = connection.take_held(scratch);
        count += self.buffers.take(&mut connection.chain, &mut scratch[count..]);
        if count > 0 {
            let all = connection.is_drained() && connection.end == End::Open && receives;
            return Ok(if all { Received::Drained(count) } else { Received::Filled(count) });
        }
        if connection.end != End::Open {
            return connection.check().map(|()| Received::Eof);
        }
        if receives {
            // After a failed send no event reports the last received bytes, and the caller tries to receive only once.
            let look_again = connection.has_failed_send() && self.end_receive(key)?;
            return if look_again { self.receive(key, scratch) } else { Ok(Received::Empty) };
        }
        self.receive_from_system(key, scratch)
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        if source.is_pipe() {
            return self.send_on_pipe(key, outbox);
        }
        let connection = source.as_connection()?;
        connection.check()?;
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
        if connection.unsent().is_some() {
            connection.awaits_write = true;
            return Ok(Sent::InFlight);
        }
        if !self.batch.is_open() {
            return Err(io::Error::other("io_uring takes no entries any more"));
        }
        let fd = connection.fd.as_raw_fd();
        if outbox.len() <= SMALL && self.batch.add(key, fd, &mut connection.batched, outbox) {
            connection.awaits_write = false;
            if self.batch.is_full() || self.host == Host::MaySleep {
                self.enter(None)?;
                self.submit_for_host()?;
            }
            return Ok(Sent::All);
        }
        let place = connection.batched;
        if self.batch.holds(key, place) {
            self.enter(None)?;
            return self.send(key, outbox);
        }
        self.send_now(key, outbox)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        if let Resource::Pipe(pipe) = &self.source_mut(key)?.resource {
            return pipe.send_slice(bytes);
        }
        self.flush_batched(key)?;
        let connection = self.source_mut(key)?.as_connection()?;
        connection.check()?;
        if connection.unsent().is_some() {
            return Ok(0);
        }
        transfer::send_slice(connection.fd.as_fd(), bytes).inspect_err(|error| connection.send_failed(errno(error)))
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.flush_batched(key)?;
        let source = self.source_mut(key)?;
        if let Some(unsent) = source.as_connection()?.unsent_mut() {
            unsent.shutdown = true;
            return Ok(());
        }
        Ok(rustix::net::shutdown(source.socket()?, rustix::net::Shutdown::Write)?)
    }

    fn close(&mut self, key: Key) {
        self.end(key);
    }

    fn abort(&mut self, key: Key) {
        if let Ok(connection) = self.source_mut(key).and_then(Slot::as_connection) {
            option::reset_on_close(connection.fd.as_fd());
            connection.take_unsent();
            let place = connection.batched;
            self.batch.withdraw(key, place);
        }
        self.end(key);
    }
}

impl Adoption for Uring {
    fn adopt(&mut self, socket: OwnedSocket, kind: Kind) -> io::Result<Key> {
        adopt::take_over(&socket, kind)?;
        let address = address::local(&socket)?;
        Ok(self.sources.insert(match kind {
            Kind::StreamPort => Slot::port(socket, None),
            Kind::StreamConnection => Slot::connection(socket, &address),
        }))
    }

    fn connect_socket(&mut self, socket: OwnedSocket, address: &Address) -> io::Result<Key> {
        adopt::take_over_to_connect(&socket)?;
        connect::begin_on(&socket, address)?;
        self.connecting(socket, address)
    }

    fn release(&mut self, key: Key) -> io::Result<Released> {
        if self.source_mut(key)?.as_connection().is_err() {
            return Err(not_a_connection());
        }
        self.flush_batched(key)?;
        self.source_mut(key)?.as_connection()?.check()?;
        if !self.end_operations_of(key)? {
            self.mark_due(key);
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Some(Slot { resource: Resource::Connection(mut connection), .. }) = self.sources.remove(key) else {
            return Err(stale());
        };
        let unsent = connection.take_unsent().map_or_else(Vec::new, |unsent| unsent.bytes.to_vec());
        spill(&mut self.buffers, &mut connection);
        let received = std::mem::take(connection.held()).into();
        Ok(Released { socket: connection.fd, received, unsent })
    }
}

impl Uring {
    /// Returns the key of a socket that connects to `address`.
    fn connecting(&mut self, socket: OwnedSocket, address: &Address) -> io::Result<Key> {
        let mut source = Slot::connection(socket, address);
        source.as_connection()?.awaits_write = true;
        let key = self.sources.insert(source);
        self.arm(key);
        self.submit_for_host()?;
        Ok(key)
    }

    fn receive_from_system(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.receive_by(key, scratch, transfer::receive)
    }

    /// Receives by a system call, because the kernel does not receive on its own. `receive` returns `None` if nothing
    /// has arrived, and zero at the end of the stream.
    pub(super) fn receive_by(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        receive: impl FnOnce(BorrowedFd<'_>, &mut [u8]) -> io::Result<Option<usize>>,
    ) -> io::Result<Received> {
        let connection = self.source_mut(key)?.as_connection()?;
        let received = receive(connection.fd.as_fd(), scratch);
        if !matches!(received, Ok(Some(1..))) {
            // After the last bytes, the error of a failed send is reported instead of the end.
            connection.check()?;
        }
        let received = received?;
        let count = received.unwrap_or(0);
        let all = count < scratch.len() && (received.is_none() || !connection.stops_short);
        let hung_up = connection.hung_up;
        if connection.took(count, all) {
            self.mark_due(key);
        }
        Ok(match received {
            None => Received::Empty,
            Some(0) => Received::Eof,
            Some(count) if all && !hung_up => Received::Drained(count),
            Some(count) => Received::Filled(count),
        })
    }

    /// Sends an outbox that does not fit into a batch.
    fn send_now(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.send_by(key, outbox, transfer::send_outbox)
    }

    /// Sends by system calls. If bytes remain, waits for WRITE.
    pub(super) fn send_by(
        &mut self,
        key: Key,
        outbox: &mut Outbox,
        send: impl FnOnce(BorrowedFd<'_>, &mut Outbox) -> io::Result<bool>,
    ) -> io::Result<Sent> {
        let connection = self.source_mut(key)?.as_connection()?;
        send(connection.fd.as_fd(), outbox).inspect_err(|error| connection.send_failed(errno(error)))?;
        connection.awaits_write = !outbox.is_empty();
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
        connection.writable = false;
        self.arm(key);
        self.submit_for_host()?;
        Ok(Sent::Some)
    }

    /// Sends a connection's batched bytes now, so that later bytes stay behind them.
    pub(super) fn flush_batched(&mut self, key: Key) -> io::Result<()> {
        let place = self.source_mut(key)?.as_connection()?.batched;
        if self.batch.holds(key, place) { self.enter(None).map(drop) } else { Ok(()) }
    }
}
