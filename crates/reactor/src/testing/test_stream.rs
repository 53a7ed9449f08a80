//! The test's own ends of the simulated network: a client and a server without protocol, factory or reactor.

use std::io;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{ConnectSpec, ListenSpec};

use super::simulated::{Network, Record, SimulatedNetwork};

/// One end of a stream, in a test's hands. What arrives is taken at once and kept; time moves it, not these methods.
///
/// Dropping it closes it.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"hello");
/// net.settle();
/// assert!(client.is_connected() && server.data() == b"hello");
/// assert_eq!(client.peer_address().to_string(), "10.0.0.1:80");
/// server.transport().unwrap().write(b"goodbye");
/// server.transport().unwrap().lose_connection();
/// net.settle();
/// assert_eq!(client.take_received(), b"goodbye");
/// assert!(client.is_eof() && client.received().is_empty());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct TestStream {
    network: SimulatedNetwork,
    /// Nothing if the attempt to connect failed at once.
    key: Option<Key>,
    record: Key,
    peer: Address,
}

impl TestStream {
    /// Begins to connect.
    pub(crate) fn connect(network: &SimulatedNetwork, spec: ConnectSpec) -> TestStream {
        let (key, record) = network.with(|network| network.connect_test_end(&spec));
        TestStream { network: network.clone(), key, record, peer: spec.address }
    }

    /// Sends a copy of `bytes`: at once if there is room, else when there is, even if the stream is dropped before.
    ///
    /// Nothing is sent after [`finish`](TestStream::finish), [`close`](TestStream::close) or
    /// [`abort`](TestStream::abort).
    pub fn write(&self, bytes: &[u8]) {
        self.with_key(|network, key| network.write_test_end(key, bytes));
    }

    /// Ends the sending direction after everything written; the other one stays open.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"all there is");
    /// client.finish();
    /// net.settle();
    /// assert!(server.is_read_lost() && server.take_data() == b"all there is");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn finish(&self) {
        self.with_key(Network::finish_test_end);
    }

    /// Closes both directions after everything written.
    pub fn close(&self) {
        self.with_key(Network::close_test_end);
    }

    /// Ends the connection with a reset: what has not arrived is dropped.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert!(client.local_address().is_some());
    /// client.abort(); // somebody stumbles over the cable
    /// net.settle();
    /// assert!(matches!(server.lost(), Some(Error::ConnectionLost(Some(_)))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn abort(&self) {
        self.with_key(Network::abort);
    }

    /// Lets what arrives from here on lie, so that the other end must wait once the buffer between them is full.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.pause_reading(); // a peer that never reads
    /// net.settle();
    /// let transport = server.transport().unwrap();
    /// transport.write(&[0; 100_000]);
    /// net.settle();
    /// assert!(transport.buffered() > 0);
    /// client.resume_reading();
    /// net.settle();
    /// assert_eq!((transport.buffered(), client.received().len()), (0, 100_000));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn pause_reading(&self) {
        self.with_key(|network, key| network.set_test_end_reading(key, false));
    }

    /// Takes what arrives again.
    pub fn resume_reading(&self) {
        self.with_key(|network, key| network.set_test_end_reading(key, true));
    }

    /// A copy of everything received since the beginning or since [`take_received`](TestStream::take_received).
    pub fn received(&self) -> Vec<u8> {
        self.with_record(|record| record.received.clone())
    }

    /// Everything received since the beginning or since the last call; it is forgotten here.
    pub fn take_received(&self) -> Vec<u8> {
        self.with_record(|record| std::mem::take(&mut record.received))
    }

    /// Whether it has connected, and neither been closed by this end nor reset. A stream whose other end sends no more
    /// is still connected.
    pub fn is_connected(&self) -> bool {
        let is_open = self.network.with(|network| self.key.is_some_and(|key| network.is_open(key)));
        is_open && self.with_record(|record| record.is_connected && !record.is_reset)
    }

    /// Whether everything that the other end sent has been received, and it will send no more.
    pub fn is_eof(&self) -> bool {
        self.with_record(|record| record.is_eof)
    }

    /// Whether the connection was broken by a reset.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().unwrap().abort_connection();
    /// net.settle();
    /// assert!(client.is_reset());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn is_reset(&self) -> bool {
        self.with_record(|record| record.is_reset)
    }

    /// Why it could not connect; `None` while it is connecting and when it has connected.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new(); // nobody listens
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(client.failure(), Some(std::io::ErrorKind::ConnectionRefused));
    /// ```
    pub fn failure(&self) -> Option<io::ErrorKind> {
        self.with_record(|record| record.failure)
    }

    /// Where this end is; `None` once it is closed.
    pub fn local_address(&self) -> Option<Address> {
        self.network.with(|network| network.local_address(self.key?).ok())
    }

    /// Where the other end is, as this end was told.
    pub fn peer_address(&self) -> Address {
        self.peer.clone()
    }

    fn with_key(&self, act: impl FnOnce(&mut Network, Key)) {
        if let Some(key) = self.key {
            self.network.with(|network| act(network, key));
        }
    }

    fn with_record<R: Default>(&self, look: impl FnOnce(&mut Record) -> R) -> R {
        self.network.with(|network| network.record(self.record).map(look).unwrap_or_default())
    }
}

impl Drop for TestStream {
    fn drop(&mut self) {
        self.network.with(|network| network.forget_test_end(self.key, self.record));
    }
}

/// A listening socket in a test's hands: what the reactor's clients connect to.
///
/// Dropping it closes it, and resets the connections that nobody has accepted.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = net.listen_stream("10.0.0.1:0").unwrap();
/// assert!(server.accept().is_none());
/// let client = AccumulatingProtocol::new();
/// net.connect_tcp(server.address().inet().unwrap(), client.factory())?;
/// net.settle();
/// let accepted = server.accept().expect("it has arrived");
/// accepted.close();
/// net.settle();
/// assert!(client.lost().is_some_and(|reason| reason.is_done()));
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct TestListener {
    network: SimulatedNetwork,
    key: Key,
    address: Address,
}

impl TestListener {
    /// Listens at `address` with a backlog of [`DEFAULT_BACKLOG`](crate::DEFAULT_BACKLOG).
    pub(crate) fn listen(network: &SimulatedNetwork, address: Address) -> io::Result<TestListener> {
        let spec = ListenSpec::new(address);
        let (key, address) = network.with(|network| network.listen(&spec, true))?;
        Ok(TestListener { network: network.clone(), key, address })
    }

    /// The next connection that has arrived; `None` if none has.
    pub fn accept(&self) -> Option<TestStream> {
        let (key, record, peer) = self.network.with(|network| network.accept_test_end(self.key))?;
        Some(TestStream { network: self.network.clone(), key: Some(key), record, peer })
    }

    /// Where it listens, with the port that was chosen for port 0.
    pub fn address(&self) -> Address {
        self.address.clone()
    }
}

impl Drop for TestListener {
    fn drop(&mut self) {
        self.network.with(|network| network.close(self.key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ropewalk_sys::{EventProvider, Events, Received};

    use super::*;
    use crate::testing::{Faults, Simulated};

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn settle(provider: &mut Simulated) {
        let mut events = Events::new();
        provider.wait(Some(Duration::from_secs(1)), &mut events).unwrap();
        assert_eq!(events, []);
    }

    /// A client and the server that accepted it, both in a test's hands.
    fn pair(provider: &mut Simulated) -> (TestStream, TestStream) {
        let listener = provider.network().listen_stream(inet("10.0.0.1:0")).unwrap();
        let client = provider.network().connect_stream(listener.address());
        settle(provider);
        (client, listener.accept().unwrap())
    }

    #[test]
    fn two_ends_of_a_test_talk_without_a_reactor() {
        let mut provider = Simulated::new(1, Faults::none().latency(Duration::from_millis(3)));
        let (client, server) = pair(&mut provider);
        assert_eq!(Some(server.peer_address()), client.local_address());
        client.write(b"question");
        assert_eq!(server.received(), b"");
        settle(&mut provider);
        assert_eq!(server.take_received(), b"question");
        assert_eq!(server.received(), b"");
        server.write(b"answer");
        server.finish();
        settle(&mut provider);
        assert_eq!(client.received(), b"answer");
        assert!(client.is_eof() && client.is_connected() && !server.is_eof());
        client.close();
        settle(&mut provider);
        assert!(server.is_eof() && !client.is_connected() && server.is_connected());
    }

    #[test]
    fn more_than_fits_is_sent_as_the_other_end_reads_even_after_a_drop() {
        let mut provider = Simulated::new(1, Faults::none().buffer(10).short_writes());
        let (client, server) = pair(&mut provider);
        server.pause_reading();
        client.write(&[7; 1000]);
        drop(client);
        settle(&mut provider);
        assert_eq!(server.received(), b"");
        server.resume_reading();
        settle(&mut provider);
        assert_eq!(server.received(), [7; 1000]);
        assert!(server.is_eof());
    }

    #[test]
    fn an_abort_shows_at_the_other_end_as_a_reset() {
        let mut provider = Simulated::new(1, Faults::none());
        let (client, server) = pair(&mut provider);
        client.write(b"lost");
        client.abort();
        settle(&mut provider);
        assert!(server.is_reset() && !server.is_connected() && !client.is_connected());
        assert_eq!(server.received(), b"");
    }

    #[test]
    fn a_failed_attempt_says_why() {
        let mut provider = Simulated::new(1, Faults::none());
        let refused = provider.network().connect_stream(inet("10.0.0.1:80"));
        let missing = provider.network().connect_stream(Address::Unix(std::path::Path::new("/run/none").into()));
        assert_eq!((refused.failure(), missing.failure()), (None, Some(io::ErrorKind::NotFound)));
        settle(&mut provider);
        assert_eq!(refused.failure(), Some(io::ErrorKind::ConnectionRefused));
        assert!(!refused.is_connected() && !missing.is_connected());
        refused.write(b"nobody hears it");
        missing.close();
    }

    #[test]
    fn what_was_written_before_the_connection_stood_is_sent_then() {
        let mut provider = Simulated::new(1, Faults::none().latency(Duration::from_millis(3)));
        let (listener, address) = provider.listen(&ListenSpec::new(inet("10.0.0.1:80"))).unwrap();
        let client = provider.network().connect_stream(address);
        client.write(b"early");
        client.close();
        client.write(b"too late");
        settle(&mut provider);
        let (server, _) = provider.accept(listener).unwrap().unwrap();
        let mut scratch = [0; 100];
        assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Drained(5))));
        assert_eq!(&scratch[..5], b"early");
        assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Eof)));
    }
}
