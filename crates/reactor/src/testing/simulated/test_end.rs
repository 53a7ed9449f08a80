//! The end of a stream that a test holds: it needs no loop, because the network itself feeds and empties it.

use std::io;

use ropewalk_proto::{Address, Key, Outbox};
use ropewalk_sys::{ConnectSpec, Sent};

use super::connection::Phase;
use super::network::Network;

/// What a connection has if a test holds it.
pub(super) struct TestEnd {
    record: Key,
    outbox: Outbox,
    ending: Ending,
}

/// What is still to be done when everything written has been sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    Write,
    Both,
}

/// What the test sees of it, also after the connection itself is gone.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) received: Vec<u8>,
    pub(crate) is_connected: bool,
    pub(crate) is_eof: bool,
    pub(crate) is_reset: bool,
    /// Why it did not connect.
    pub(crate) failure: Option<io::ErrorKind>,
}

impl Network {
    /// Connects on behalf of a test; the keys of the connection and of its record.
    ///
    /// The connection's key is stale from the beginning when the attempt fails at once.
    pub(crate) fn connect_test_end(&mut self, spec: &ConnectSpec) -> (Option<Key>, Key) {
        match self.connect(spec) {
            Ok(key) => (Some(key), self.make_test_end(key)),
            Err(error) => (None, self.records.insert(Record { failure: Some(error.kind()), ..Record::default() })),
        }
    }

    /// Accepts on behalf of a test that listens.
    pub(crate) fn accept_test_end(&mut self, listener: Key) -> Option<(Key, Key, Address)> {
        let (key, peer) = self.accept(listener).ok()??;
        let record = self.connection(key).ok()?.test.as_ref()?.record;
        Some((key, record, peer))
    }

    /// Makes the connection a test's.
    pub(super) fn make_test_end(&mut self, key: Key) -> Key {
        let record = self.records.insert(Record::default());
        if let Ok(connection) = self.connection_mut(key) {
            connection.reading = true;
            connection.test = Some(TestEnd { record, outbox: Outbox::new(), ending: Ending::No });
        }
        self.test_end_changed(key);
        record
    }

    /// What the test sees; nothing after [`Network::forget_test_end`].
    pub(crate) fn record(&mut self, record: Key) -> Option<&mut Record> {
        self.records.get_mut(record)
    }

    /// Sends as soon as there is room.
    pub(crate) fn write_test_end(&mut self, key: Key, bytes: &[u8]) {
        self.with_test_end(key, |end| {
            if end.ending == Ending::No {
                end.outbox.write(bytes);
            }
        });
    }

    /// Ends the sending direction after everything written.
    pub(crate) fn finish_test_end(&mut self, key: Key) {
        self.with_test_end(key, |end| {
            if end.ending == Ending::No {
                end.ending = Ending::Write;
            }
        });
    }

    /// Closes after everything written.
    pub(crate) fn close_test_end(&mut self, key: Key) {
        self.with_test_end(key, |end| end.ending = Ending::Both);
    }

    /// Takes what arrives, or lets it lie so that the other end must wait.
    pub(crate) fn set_test_end_reading(&mut self, key: Key, on: bool) {
        if let Ok(connection) = self.connection_mut(key) {
            connection.reading = on;
        }
        self.test_end_changed(key);
    }

    /// Closes a test's end that nobody can look at any more.
    pub(crate) fn forget_test_end(&mut self, key: Option<Key>, record: Key) {
        if let Some(key) = key {
            self.close_test_end(key);
        }
        self.records.remove(record);
    }

    /// Something has arrived at `key`: if it is a test's, the test takes it.
    pub(super) fn test_end_changed(&mut self, key: Key) {
        let Ok(connection) = self.connection_mut(key) else { return };
        let Some(end) = &connection.test else { return };
        let mut nowhere = Record::default();
        let (record, pipe) = (end.record, &mut connection.incoming);
        let mut taken = Vec::new();
        if connection.reading {
            taken.resize(pipe.unread(), 0);
            pipe.read(&mut taken);
        }
        let (is_eof, is_reset) = (pipe.is_ended() && pipe.unread() == 0, pipe.is_broken());
        let phase = connection.phase;
        let record = self.records.get_mut(record).unwrap_or(&mut nowhere);
        record.received.append(&mut taken);
        record.is_eof = is_eof;
        record.is_reset = is_reset;
        match phase {
            Phase::Connecting => {}
            Phase::Failed(kind) => record.failure = Some(kind),
            Phase::Established => record.is_connected = true,
        }
        self.made_room(key);
        self.flush_test_end(key);
    }

    /// If `key` is a test's end, sends what there is room for, and ends what is to end then.
    pub(super) fn flush_test_end(&mut self, key: Key) {
        let Ok(connection) = self.connection_mut(key) else { return };
        let phase = connection.phase;
        let Some(end) = &mut connection.test else { return };
        let (mut outbox, ending) = (std::mem::take(&mut end.outbox), end.ending);
        if phase == Phase::Established {
            // Short writes are no reason for this end to stop.
            while !outbox.is_empty() && self.connection(key).is_ok_and(|end| self.room(end) > 0) {
                match self.send(key, &mut outbox) {
                    Ok(Sent::All | Sent::Some | Sent::InFlight) => {}
                    Err(_) => outbox.clear(),
                }
            }
        }
        let is_empty = outbox.is_empty() || matches!(phase, Phase::Failed(_));
        self.keep_outbox(key, outbox);
        match ending {
            Ending::Both if is_empty => self.close(key),
            // It fails only if the connection is broken, and then there is nothing to end.
            Ending::Write if is_empty => drop(self.shutdown_write(key)),
            _ => {}
        }
    }

    fn keep_outbox(&mut self, key: Key, outbox: Outbox) {
        let end = self.connection_mut(key).ok().and_then(|connection| connection.test.as_mut());
        if let Some(end) = end {
            end.outbox = outbox;
        }
    }

    fn with_test_end(&mut self, key: Key, change: impl FnOnce(&mut TestEnd)) {
        if let Some(end) = self.connection_mut(key).ok().and_then(|connection| connection.test.as_mut()) {
            change(end);
        }
        self.flush_test_end(key);
    }
}
