//! The streams that tests hold. Their owner reads, writes and closes as a reactor would, as soon as a source is ready.

use std::io;

use ropewalk_proto::{Address, Key, Outbox, Slab};
use ropewalk_sys::{ConnectSpec, Ready, Received, Sent};

use super::machines::OUTSIDE;
use super::network::Network;

/// The maximum number of bytes in one read.
const SCRATCH: usize = 4096;

/// All test ends of a network.
pub(crate) struct TestEnds {
    owner: Key,
    ends: Slab<TestEnd>,
}

/// One end of a stream, with the state that a test can see. It outlives its connection.
#[derive(Default)]
pub(crate) struct TestEnd {
    /// The connection, until it is closed.
    source: Option<Key>,
    outbox: Outbox,
    closing: Closing,
    pub(crate) received: Vec<u8>,
    pub(crate) is_connected: bool,
    pub(crate) is_eof: bool,
    pub(crate) is_reset: bool,
    /// The reason why the connection attempt failed.
    pub(crate) failure: Option<io::ErrorKind>,
}

/// The action that follows when the outbox is empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    No,
    /// Shut the sending direction down.
    Write,
    Both,
    /// Close, and forget the end.
    Drop,
}

impl TestEnds {
    /// Adds the owner to `network`.
    pub(super) fn new(network: &mut Network) -> TestEnds {
        TestEnds { owner: network.add_owner(OUTSIDE), ends: Slab::new() }
    }

    /// Returns the owner of the sources.
    pub(crate) fn owner(&self) -> Key {
        self.owner
    }

    /// Begins to connect, and returns the key of the end.
    pub(crate) fn connect(&mut self, network: &mut Network, spec: &ConnectSpec) -> Key {
        match network.connect(self.owner, spec) {
            Ok(source) => self.add(network, source, false),
            Err(error) => self.ends.insert(TestEnd { failure: Some(error.kind()), ..TestEnd::default() }),
        }
    }

    /// Accepts a connection, and returns the key of the end with the peer's address.
    pub(crate) fn accept(&mut self, network: &mut Network, listener: Key) -> Option<(Key, Address)> {
        let (source, peer) = network.accept(listener).ok()??;
        Some((self.add(network, source, true), peer))
    }

    fn add(&mut self, network: &mut Network, source: Key, is_connected: bool) -> Key {
        // This fails only for a stale key, and `source` is new.
        drop(network.set_reading(source, true));
        let mut end = TestEnd { source: Some(source), is_connected, ..TestEnd::default() };
        end.act(network);
        self.ends.insert(end)
    }

    /// Returns the end under `key`, or `None` if that end was forgotten.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut TestEnd> {
        self.ends.get_mut(key)
    }

    /// Closes an end after all written bytes have been sent, and forgets the end.
    pub(crate) fn forget(&mut self, network: &mut Network, key: Key) {
        if let Some(end) = self.ends.get_mut(key) {
            end.closing = Closing::Drop;
            end.flush(network);
        }
        self.remove_dropped();
    }

    /// Handles the ends that are ready. Returns whether there were any.
    pub(super) fn act(&mut self, network: &mut Network) -> bool {
        let mut acted = false;
        for (_, end) in self.ends.iter_mut() {
            acted |= end.act(network);
        }
        if acted {
            self.remove_dropped();
        }
        acted
    }

    fn remove_dropped(&mut self) {
        let is_over = |end: &TestEnd| end.closing == Closing::Drop && end.source.is_none();
        let over: Vec<Key> = self.ends.iter().filter(|(_, end)| is_over(end)).map(|(key, _)| key).collect();
        for key in over {
            self.ends.remove(key);
        }
    }
}

impl TestEnd {
    /// Sends a copy of `bytes` as soon as the connection has room.
    pub(crate) fn write(&mut self, network: &mut Network, bytes: &[u8]) {
        if self.closing == Closing::No {
            self.outbox.write(bytes);
            self.flush(network);
        }
    }

    /// Shuts the sending direction down after all written bytes have been sent.
    pub(crate) fn finish(&mut self, network: &mut Network) {
        if self.closing == Closing::No {
            self.closing = Closing::Write;
            self.flush(network);
        }
    }

    /// Closes after all written bytes have been sent.
    pub(crate) fn close(&mut self, network: &mut Network) {
        self.closing = Closing::Both;
        self.flush(network);
    }

    /// Resets the connection.
    pub(crate) fn abort(&mut self, network: &mut Network) {
        if let Some(source) = self.source.take() {
            self.outbox.clear();
            network.abort(source);
        }
    }

    /// Starts or stops reading.
    pub(crate) fn set_reading(&mut self, network: &mut Network, on: bool) {
        if let Some(source) = self.source {
            // This fails only for a connection that is gone.
            drop(network.set_reading(source, on));
            self.act(network);
        }
    }

    /// Whether this end is open and not reset.
    pub(crate) fn is_open(&mut self, network: &Network) -> bool {
        self.is_connected && self.source.is_some() && !self.is_broken(network)
    }

    /// Whether the connection was reset.
    pub(crate) fn is_broken(&mut self, network: &Network) -> bool {
        // An end that does not read is not notified of a reset, so the network is asked.
        self.is_reset |= self.is_connected && self.source.is_some_and(|source| network.finish_connect(source).is_err());
        self.is_reset
    }

    /// Returns the local address while this end is open.
    pub(crate) fn local_address(&self, network: &Network) -> Option<Address> {
        network.local_address(self.source?).ok()
    }

    /// Returns the number of written bytes that the peer has not read.
    pub(crate) fn unread(&self, network: &Network) -> usize {
        self.outbox.len() + self.source.map_or(0, |source| network.unread_by_peer(source))
    }

    /// Handles the readiness of the end's source, as a reactor handles an event. Returns whether the source was ready.
    fn act(&mut self, network: &mut Network) -> bool {
        let Some(source) = self.source else { return false };
        let ready = network.take_ready(source);
        if ready.is_empty() {
            return false;
        }
        if !self.is_connected {
            self.failure = network.finish_connect(source).err().map(|error| error.kind());
            self.is_connected = self.failure.is_none();
        }
        if ready.contains(Ready::READ) {
            self.read(network, source);
        }
        self.flush(network);
        true
    }

    fn read(&mut self, network: &mut Network, source: Key) {
        let mut scratch = [0; SCRATCH];
        loop {
            match network.receive(source, &mut scratch) {
                Ok(Received::Filled(count) | Received::Drained(count)) => {
                    self.received.extend_from_slice(&scratch[..count]);
                }
                Ok(Received::Lent(chunk)) => self.received.extend_from_slice(&chunk),
                Ok(Received::Empty) => return,
                Ok(Received::Eof) => break self.is_eof = true,
                Err(_) => break self.is_reset = true,
            }
        }
        drop(network.set_reading(source, false));
    }

    /// Sends the bytes for which there is room. Then closes the directions that are to be closed.
    fn flush(&mut self, network: &mut Network) {
        let Some(source) = self.source else { return };
        if self.is_connected && !self.outbox.is_empty() {
            match network.send(source, &mut self.outbox) {
                Ok(Sent::All | Sent::Some | Sent::InFlight) => {}
                Err(_) => self.outbox.clear(),
            }
        }
        let is_sent = self.outbox.is_empty() || self.failure.is_some();
        match self.closing {
            Closing::Both | Closing::Drop if is_sent => {
                self.source = None;
                network.close(source);
            }
            // This fails only for a broken connection, which has no sending direction.
            Closing::Write if is_sent && self.is_connected => drop(network.shutdown_write(source)),
            _ => {}
        }
    }
}
