//! The bench on which a provider is tested: operations that many specifications share.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ropewalk_proto::{Address, Key, Outbox};
use ropewalk_sys::{ConnectSpec, Event, EventProvider, Events, ListenSpec, Ready, Received, Sockets, Streams, Watches};
use rustix::net::{AddressFamily, SocketType};

/// The time limit for an expected event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The time in which an unwanted event would show.
pub(crate) const MOMENT: Duration = Duration::from_millis(30);

pub(crate) struct Bench {
    pub(crate) provider: Box<dyn EventProvider>,
    pub(crate) scratch: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(provider: Box<dyn EventProvider>) -> Bench {
        Bench { provider, scratch: vec![0; 64 * 1024] }
    }

    pub(crate) fn streams(&mut self) -> &mut dyn Streams {
        self.provider.streams().expect("streams")
    }

    pub(crate) fn sockets(&mut self) -> &mut dyn Sockets {
        self.provider.sockets().expect("sockets")
    }

    pub(crate) fn watches(&mut self) -> &mut dyn Watches {
        self.provider.watches().expect("watches")
    }

    /// Opens a TCP port on the loopback.
    pub(crate) fn port(&mut self) -> (Key, SocketAddr) {
        let (port, address) = self.streams().listen(&ListenSpec::new(loopback())).unwrap();
        self.streams().set_reading(port, true).unwrap();
        (port, address.inet().unwrap())
    }

    /// Returns a connection of the provider, and its peer, whose calls block.
    pub(crate) fn connection(&mut self) -> (Key, TcpStream) {
        let (port, address) = self.port();
        let peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = self.accepted(port);
        self.streams().close(port);
        (connection, peer)
    }

    /// Returns a connection of which four bytes were read, and two are left.
    pub(crate) fn read_in_part(&mut self) -> (Key, TcpStream) {
        let (key, mut peer) = self.connection();
        self.streams().set_reading(key, true).unwrap();
        peer.write_all(b"abcdef").unwrap();
        self.expect(key, Ready::READ);
        self.scratch.truncate(4);
        assert!(matches!(self.receive(key), Ok(Received::Filled(4))));
        (key, peer)
    }

    /// Returns a UNIX connection of the provider, and its peer.
    pub(crate) fn unix_connection(&mut self) -> (Key, UnixStream) {
        let directory = Directory::new();
        let path = directory.path("socket");
        let (port, _) = self.streams().listen(&ListenSpec::new(unix_address(&path))).unwrap();
        self.streams().set_reading(port, true).unwrap();
        let peer = UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = self.accepted(port);
        self.streams().close(port);
        (connection, peer)
    }

    /// Accepts the next connection of a port.
    pub(crate) fn accepted(&mut self, port: Key) -> Key {
        self.expect(port, Ready::READ);
        self.streams().accept(port).unwrap().expect("a connection").0
    }

    /// Begins to connect to a listener of the test.
    pub(crate) fn connecting(&mut self, address: SocketAddr) -> Key {
        self.streams().connect(&ConnectSpec { address: address.into(), bind: None }).unwrap()
    }

    /// Waits until `key` reports all of `ready`.
    pub(crate) fn expect(&mut self, key: Key, ready: Ready) -> Event {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            for event in self.wait(PATIENCE) {
                if event.key == key && event.ready.contains(ready) {
                    return event;
                }
                seen.push(event);
            }
        }
        panic!("{key:?} did not report {ready:?}, but this was seen: {seen:?}");
    }

    /// Waits once.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Events {
        let mut events = Events::new();
        self.provider.wait(Some(timeout), &mut events).unwrap();
        events
    }

    /// Makes the provider send the bytes that it keeps for its next wait.
    pub(crate) fn let_leave(&mut self) {
        assert_eq!(self.wait(Duration::ZERO), []);
    }

    /// Waits until nothing is reported for a moment, and returns all events.
    ///
    /// Fails if the waits do not come to rest, because something unwanted wakes them again and again.
    pub(crate) fn settle(&mut self) -> Events {
        let mut events = Events::new();
        for _ in 0..4 {
            let began = Instant::now();
            let reported = self.wait(MOMENT);
            let quiet = reported.is_empty() && began.elapsed() >= MOMENT;
            events.extend(reported);
            if quiet {
                return events;
            }
        }
        panic!("the waits do not come to rest: {events:?}");
    }

    /// Asserts that the next wait reports nothing and lasts its whole time.
    pub(crate) fn assert_quiet(&mut self, why: &str) {
        let began = Instant::now();
        assert_eq!(self.wait(MOMENT), [], "{why}");
        assert!(began.elapsed() >= MOMENT, "a wake-up without an event: {why}");
    }

    /// Asserts that the loss of `key` is not repeated before a later loss of another connection is reported.
    ///
    /// `settle` cannot show this, because select looks for losses only twice a second.
    #[track_caller]
    pub(crate) fn assert_reported_once(&mut self, key: Key) {
        assert_eq!(self.settle(), []);
        let (later, peer) = self.unix_connection();
        self.streams().set_reading(later, false).unwrap();
        drop(peer);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.wait(PATIENCE);
            assert!(events.iter().all(|event| event.key != key), "{events:?}");
            if events.iter().any(|event| event.key == later) {
                return self.streams().close(later);
            }
            assert!(Instant::now() < deadline, "the later loss is not reported");
        }
    }

    /// Receives into the scratch buffer.
    pub(crate) fn receive(&mut self, key: Key) -> io::Result<Received> {
        self.receive_up_to(key, self.scratch.len())
    }

    /// Receives at most `room` bytes into the scratch buffer.
    pub(crate) fn receive_up_to(&mut self, key: Key, room: usize) -> io::Result<Received> {
        self.provider.streams().expect("streams").receive(key, &mut self.scratch[..room])
    }

    /// Reads until the end of the stream.
    pub(crate) fn read_to_end(&mut self, key: Key) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.receive(key).unwrap() {
                Received::Filled(count) | Received::Drained(count) => bytes.extend_from_slice(&self.scratch[..count]),
                Received::Lent(chunk) => bytes.extend_from_slice(&chunk),
                Received::Empty => drop(self.expect(key, Ready::READ)),
                Received::Eof => return bytes,
            }
        }
    }

    /// Reads `count` bytes as an owner does: until nothing is left, and again after each report.
    pub(crate) fn read(&mut self, key: Key, count: usize) -> Vec<u8> {
        self.streams().set_reading(key, true).unwrap();
        let mut bytes = Vec::new();
        while bytes.len() < count {
            self.expect(key, Ready::READ);
            while bytes.len() < count {
                match self.receive(key).unwrap() {
                    Received::Filled(count) => bytes.extend_from_slice(&self.scratch[..count]),
                    Received::Drained(count) => {
                        bytes.extend_from_slice(&self.scratch[..count]);
                        break;
                    }
                    Received::Lent(chunk) => bytes.extend_from_slice(&chunk),
                    Received::Empty => break,
                    Received::Eof => panic!("the end of the stream behind {bytes:?}"),
                }
            }
        }
        bytes
    }

    /// Sends until the socket would block, and returns the outbox with the rest.
    pub(crate) fn fill(&mut self, key: Key) -> Outbox {
        let mut outbox = Outbox::new();
        outbox.write(&vec![7; 16 * 1024 * 1024]);
        loop {
            let before = outbox.len();
            self.streams().send(key, &mut outbox).unwrap();
            if outbox.len() == before {
                return outbox;
            }
        }
    }
}

/// Reads until nothing arrives for a moment. Returns the number of bytes.
pub(crate) fn drain(peer: &mut TcpStream) -> usize {
    peer.set_read_timeout(Some(MOMENT)).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut count = 0;
    loop {
        match peer.read(&mut buffer) {
            Ok(0) | Err(_) => return count,
            Ok(read) => count += read,
        }
    }
}

/// Returns the reading and the writing end of a pipe.
pub(crate) fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Returns an address of the loopback whose port the system chooses.
pub(crate) fn loopback() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

/// Returns an address that no socket listens on for as long as this process lives.
pub(crate) fn dead_address() -> SocketAddr {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let bound = TcpListener::from(socket);
    let address = bound.local_addr().unwrap();
    // If the socket were closed, the system could give its port to another test.
    std::mem::forget(bound);
    address
}

pub(crate) fn unix_address(path: &Path) -> Address {
    Address::Unix(Arc::from(path))
}

/// Asserts the kind of an error, and shows the error if its kind is another.
#[track_caller]
pub(crate) fn assert_kind<T>(outcome: io::Result<T>, kind: io::ErrorKind) -> io::Error {
    let error = outcome.err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    error
}

/// A directory for UNIX sockets, removed with what is in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // The system reuses process ids: a killed run may have left a directory with our id.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
