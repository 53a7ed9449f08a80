//! The ends of streams that a test holds: a client and a server without protocol, factory or reactor.

use std::fmt;
use std::io;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{ConnectSpec, ListenSpec};

use super::simulated::{Network, SharedNetwork, TestEnd};

/// One end of a stream, held by a test.
///
/// Bytes that arrive are read at once and kept. Bytes move only while virtual time passes. Dropping the stream closes
/// it.
///
/// Its methods may be called from any callback. They call nothing: the reactor is notified in its next turn.
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
    network: SharedNetwork,
    key: Key,
    peer: Address,
}

impl TestStream {
    /// Begins to connect.
    pub(super) fn connect(network: &SharedNetwork, spec: ConnectSpec) -> TestStream {
        let key = network.with_ends(|network, ends| ends.connect(network, &spec));
        TestStream { network: network.clone(), key, peer: spec.address }
    }

    /// Sends a copy of `bytes`, or of a text, as soon as the buffer has room, even if the stream is dropped earlier.
    ///
    /// Nothing is sent after [`finish`](TestStream::finish), [`close`](TestStream::close) or
    /// [`abort`](TestStream::abort).
    pub fn write(&self, bytes: &(impl AsRef<[u8]> + ?Sized)) {
        self.with_end(|end, network| end.write(network, bytes.as_ref()));
    }

    /// Shuts the sending direction down after all written bytes have been sent. The other direction stays open.
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
        self.with_end(TestEnd::finish);
    }

    /// Closes both directions after all written bytes have been sent.
    pub fn close(&self) {
        self.with_end(TestEnd::close);
    }

    /// Resets the connection. Bytes that have not arrived are lost.
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
    /// client.abort(); // like a program that crashes
    /// net.settle();
    /// assert!(matches!(server.lost(), Some(Error::ConnectionLost(Some(_)))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn abort(&self) {
        self.with_end(TestEnd::abort);
    }

    /// Stops reading. Once the buffer between the ends is full, the other end cannot send.
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
        self.with_end(|end, network| end.set_reading(network, false));
    }

    /// Resumes reading.
    pub fn resume_reading(&self) {
        self.with_end(|end, network| end.set_reading(network, true));
    }

    /// Returns a copy of all bytes received since the last [`take_received`](TestStream::take_received).
    pub fn received(&self) -> Vec<u8> {
        self.with_end(|end, _| end.received.clone())
    }

    /// Removes and returns all bytes received since the last call.
    pub fn take_received(&self) -> Vec<u8> {
        self.with_end(|end, _| std::mem::take(&mut end.received))
    }

    /// Returns the number of bytes that were written here and that the other end has not read.
    ///
    /// They wait to be sent, are under way, or have arrived. The number is 0 once this end is closed.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().unwrap().pause_producing(); // a server that applies back-pressure
    /// client.write(&[0; 100_000]);
    /// net.settle();
    /// assert_eq!((client.unread(), server.data().len()), (100_000, 0));
    /// server.transport().unwrap().resume_producing();
    /// net.settle();
    /// assert_eq!((client.unread(), server.data().len()), (0, 100_000));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn unread(&self) -> usize {
        self.with_end(|end, network| end.unread(network))
    }

    /// Returns whether the stream has connected, and was neither closed by this end nor reset.
    ///
    /// A stream whose other end has closed its sending direction is still connected.
    pub fn is_connected(&self) -> bool {
        self.with_end(|end, network| end.is_open(network))
    }

    /// Returns whether the stream has ended: all its bytes are received, and the other end has closed its sending
    /// direction.
    pub fn is_eof(&self) -> bool {
        self.with_end(|end, _| end.is_eof)
    }

    /// Returns whether the connection was broken by a reset or a timeout.
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
        self.with_end(|end, network| end.is_broken(network))
    }

    /// Returns the reason why the connection attempt failed. `None` while it is under way and after the stream has
    /// connected.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new(); // without a listener
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(client.failure(), Some(std::io::ErrorKind::ConnectionRefused));
    /// ```
    pub fn failure(&self) -> Option<io::ErrorKind> {
        self.with_end(|end, _| end.failure)
    }

    /// Returns the local address, or `None` once this end is closed.
    pub fn local_address(&self) -> Option<Address> {
        self.with_end(|end, network| end.local_address(network))
    }

    /// Returns the peer's address.
    pub fn peer_address(&self) -> Address {
        self.peer.clone()
    }

    fn with_end<R: Default>(&self, act: impl FnOnce(&mut TestEnd, &mut Network) -> R) -> R {
        let act = |network: &mut Network, end: Option<&mut TestEnd>| end.map(|end| act(end, network));
        self.network.with_ends(|network, ends| act(network, ends.get(self.key))).unwrap_or_default()
    }
}

impl fmt::Debug for TestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, connected) = (self.peer.to_string(), self.is_connected());
        f.debug_struct("TestStream").field("peer", &peer).field("connected", &connected).finish_non_exhaustive()
    }
}

impl Drop for TestStream {
    fn drop(&mut self) {
        self.network.with_ends(|network, ends| ends.forget(network, self.key));
    }
}

/// A listening socket held by a test, to which the clients of a reactor connect.
///
/// Dropping the listener closes it, and resets the connections that were not accepted.
///
/// Its methods may be called from any callback.
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
    network: SharedNetwork,
    key: Key,
    address: Address,
}

impl TestListener {
    /// Listens at `address` with the default backlog.
    pub(super) fn listen(network: &SharedNetwork, address: Address) -> io::Result<TestListener> {
        let spec = ListenSpec::new(address);
        let (key, address) = network.with_ends(|network, ends| network.listen(ends.owner(), &spec))?;
        Ok(TestListener { network: network.clone(), key, address })
    }

    /// Accepts the next connection, or returns `None` if none has arrived.
    pub fn accept(&self) -> Option<TestStream> {
        let (key, peer) = self.network.with_ends(|network, ends| ends.accept(network, self.key))?;
        Some(TestStream { network: self.network.clone(), key, peer })
    }

    /// Returns the listener's address, with the port that was chosen for port 0.
    pub fn address(&self) -> Address {
        self.address.clone()
    }
}

impl fmt::Debug for TestListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestListener").field("address", &self.address.to_string()).finish_non_exhaustive()
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

    use ropewalk_sys::{Received, Streams};

    use super::*;
    use crate::testing::{Faults, SimulatedNetwork};

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    /// Returns a client and the server that accepted it, both held by the test.
    fn pair(network: &SimulatedNetwork) -> (TestStream, TestStream) {
        let listener = network.listen_stream(inet("10.0.0.1:0")).unwrap();
        let client = network.connect_stream(listener.address());
        network.settle();
        (client, listener.accept().unwrap())
    }

    #[test]
    fn two_test_ends_exchange_bytes_without_a_reactor() {
        let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().latency(Duration::from_millis(3)));
        let (client, server) = pair(&network);
        assert_eq!(Some(server.peer_address()), client.local_address());
        client.write(b"question");
        assert_eq!(server.received(), b"");
        network.settle();
        assert_eq!(server.take_received(), b"question");
        assert_eq!(server.received(), b"");
        server.write(b"answer");
        server.finish();
        network.settle();
        assert_eq!(client.received(), b"answer");
        assert!(client.is_eof() && client.is_connected() && !server.is_eof());
        client.close();
        network.settle();
        assert!(server.is_eof() && !client.is_connected() && server.is_connected());
    }

    #[test]
    fn a_dropped_end_still_sends_its_queued_bytes() {
        let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().buffer(10).short_writes());
        let (client, server) = pair(&network);
        server.pause_reading();
        client.write(&[7; 1000]);
        drop(client);
        network.settle();
        assert_eq!(server.received(), b"");
        server.resume_reading();
        network.settle();
        assert_eq!(server.received(), [7; 1000]);
        assert!(server.is_eof());
    }

    #[test]
    fn an_abort_resets_the_other_end() {
        let network = SimulatedNetwork::seeded(1);
        let (client, server) = pair(&network);
        client.write(b"lost");
        client.abort();
        network.settle();
        assert!(server.is_reset() && !server.is_connected() && !client.is_connected());
        assert_eq!(server.received(), b"");
    }

    #[test]
    fn nothing_is_unread_after_an_abort() {
        let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().buffer(10));
        let (client, server) = pair(&network);
        server.pause_reading();
        client.write(&[7; 1000]);
        network.settle();
        assert_eq!(client.unread(), 1000);
        client.abort();
        assert_eq!(client.unread(), 0);
    }

    #[test]
    fn a_failed_attempt_reports_its_reason() {
        let network = SimulatedNetwork::seeded(1);
        let refused = network.connect_stream(inet("10.0.0.1:80"));
        let missing = network.connect_stream(Address::Unix(std::path::Path::new("/run/none").into()));
        assert_eq!((refused.failure(), missing.failure()), (None, Some(io::ErrorKind::NotFound)));
        network.settle();
        assert_eq!(refused.failure(), Some(io::ErrorKind::ConnectionRefused));
        assert!(!refused.is_connected() && !missing.is_connected());
        refused.write(b"lost");
        missing.close();
    }

    #[test]
    fn bytes_written_while_connecting_are_sent_afterwards() {
        let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().latency(Duration::from_millis(3)));
        let mut provider = network.provider();
        let (listener, address) = provider.listen(&ListenSpec::new(inet("10.0.0.1:80"))).unwrap();
        let client = network.connect_stream(address);
        client.write(b"early");
        client.close();
        client.write(b"too late");
        network.settle();
        let (server, _) = provider.accept(listener).unwrap().unwrap();
        let mut scratch = [0; 100];
        assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Drained(5))));
        assert_eq!(&scratch[..5], b"early");
        assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Eof)));
    }
}
