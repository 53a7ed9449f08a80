//! A transport for testing one protocol alone.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use ropewalk_sys::ConnectSpec;

use super::MemoryReactor;
use super::memory_reactor::parsed;
use super::test_stream::TestStream;
use crate::error::Error;
use crate::protocols::Protocol;
use crate::transports::Transport;

/// A real [`Transport`] that keeps the bytes written to it: `StringTransport`.
///
/// A `StringTransport` derefs to its transport. The test calls the methods of the protocol itself, in any order.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::testing::StringTransport;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///         if data == b"bye" {
///             transport.lose_connection();
///         }
///     }
/// }
///
/// let transport = StringTransport::new();
/// let mut echo = Echo;
/// echo.data_received(&transport, b"hello");
/// assert_eq!(transport.value(), b"hello");
/// assert!(!transport.disconnecting());
/// transport.clear();
/// echo.data_received(&transport, b"bye");
/// assert_eq!(transport.value(), b"bye");
/// assert!(transport.disconnecting());
/// ```
pub struct StringTransport {
    transport: Transport,
    wire: TestStream,
    record: Rc<RefCell<Record>>,
    /// This field is dropped last, because it keeps the transport's reactor alive.
    net: MemoryReactor,
}

/// The state of a transport as a producer.
///
/// ```
/// use ropewalk::testing::{ProducerState, StringTransport};
///
/// let transport = StringTransport::new();
/// assert_eq!(transport.producer_state(), ProducerState::Producing);
/// transport.pause_producing(); // as a protocol does under load
/// assert_eq!(transport.producer_state(), ProducerState::Paused);
/// transport.lose_connection();
/// assert_eq!(transport.producer_state(), ProducerState::Stopped);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerState {
    /// The transport reads.
    Producing,
    /// `pause_producing` was called.
    Paused,
    /// The transport no longer reads, because it is closing or closed.
    Stopped,
}

impl Default for StringTransport {
    fn default() -> Self {
        StringTransport::new()
    }
}

impl StringTransport {
    /// Returns a connected transport from 10.0.0.1:54321 to 192.168.1.1:54321.
    pub fn new() -> StringTransport {
        StringTransport::between("10.0.0.1:54321", "192.168.1.1:54321")
    }

    /// Returns a connected transport from `host` to `peer`, in the forms of [`MemoryReactor::connect_stream`].
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::between("[2001:db8::1]:80", "[2001:db8::2]:5000");
    /// assert_eq!(transport.peer().to_string(), "[2001:db8::2]:5000");
    /// ```
    ///
    /// # Panics
    /// When `host` or `peer` is not a TCP address.
    pub fn between(host: &str, peer: &str) -> StringTransport {
        let net = MemoryReactor::new();
        let record = Rc::new(RefCell::new(Record::default()));
        let recording = record.clone();
        let port = net.listen_tcp(host, move || Recorder(recording.clone())).expect("an address of TCP");
        let spec = ConnectSpec { address: parsed(host), bind: Some(parsed(peer)) };
        let wire = net.network().connect_from(spec);
        net.settle();
        drop(port.stop_listening());
        net.settle();
        let transport = record.borrow_mut().transport.take().expect("two different addresses of TCP");
        StringTransport { transport, wire, record, net }
    }

    /// Returns all bytes sent since the last [`clear`](StringTransport::clear).
    pub fn value(&self) -> Vec<u8> {
        self.net.settle();
        self.wire.received()
    }

    /// Discards all bytes sent so far.
    pub fn clear(&self) {
        self.net.settle();
        self.wire.take_received();
    }

    /// Returns whether `lose_connection` was called, also after the connection has closed.
    pub fn disconnecting(&self) -> bool {
        self.net.settle();
        self.transport.is_disconnecting() || matches!(self.reason(), Some(Error::ConnectionDone))
    }

    /// Returns whether `lose_write_connection` was called and all bytes before it were sent.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (half, broken) = (StringTransport::new(), StringTransport::new());
    /// half.lose_write_connection();
    /// broken.abort_connection();
    /// assert!(half.write_disconnected() && !half.aborted());
    /// assert!(broken.aborted() && !broken.write_disconnected());
    /// ```
    pub fn write_disconnected(&self) -> bool {
        self.net.settle();
        self.wire.is_eof() && self.transport.is_connected()
    }

    /// Returns whether `abort_connection` was called.
    pub fn aborted(&self) -> bool {
        self.net.settle();
        matches!(self.reason(), Some(Error::ConnectionAborted))
    }

    /// Returns whether the transport reads, is paused, or has stopped.
    pub fn producer_state(&self) -> ProducerState {
        self.net.settle();
        match &self.transport {
            transport if !transport.is_connected() || transport.is_disconnecting() => ProducerState::Stopped,
            transport if transport.is_paused() => ProducerState::Paused,
            _ => ProducerState::Producing,
        }
    }

    /// Returns the reactor of this transport. Its time moves only when a test moves it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// let later = transport.clone();
    /// transport.reactor().call_later(Duration::from_secs(60), move |_| later.write(b"still there?"));
    /// transport.net().advance(Duration::from_secs(60));
    /// assert_eq!(transport.value(), b"still there?");
    /// ```
    pub fn net(&self) -> &MemoryReactor {
        &self.net
    }

    fn reason(&self) -> Option<Error> {
        self.record.borrow().reason.clone()
    }
}

impl std::fmt::Debug for StringTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StringTransport").field(&self.transport).finish()
    }
}

impl Deref for StringTransport {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

/// The calls that [`Recorder`] records.
#[derive(Default)]
struct Record {
    transport: Option<Transport>,
    reason: Option<Error>,
}

/// A protocol for the reactor's connection. The test calls the tested protocol itself.
struct Recorder(Rc<RefCell<Record>>);

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.borrow_mut().transport = Some(transport.clone());
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        self.0.borrow_mut().reason = Some(reason.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_has_the_given_addresses() {
        let transport = StringTransport::between("[fe80::1]:80", "[fe80::2]:1234");
        assert_eq!(transport.host().unwrap(), parsed("[fe80::1]:80"));
        assert_eq!(*transport.peer(), parsed("[fe80::2]:1234"));
    }

    #[test]
    fn bytes_beyond_a_full_buffer_are_kept() {
        let transport = StringTransport::new();
        transport.write(&[1; 300_000]);
        assert_eq!(transport.value(), [1; 300_000]);
        transport.clear();
        assert_eq!(transport.value(), b"");
    }

    #[test]
    fn pausing_changes_the_producer_state() {
        let transport = StringTransport::new();
        assert_eq!(transport.producer_state(), ProducerState::Producing);
        transport.pause_producing();
        assert_eq!(transport.producer_state(), ProducerState::Paused);
        transport.resume_producing();
        assert_eq!(transport.producer_state(), ProducerState::Producing);
        transport.lose_connection();
        assert_eq!(transport.producer_state(), ProducerState::Stopped);
    }

    #[test]
    fn each_kind_of_close_is_distinguished() {
        let half = StringTransport::new();
        half.write(b"last");
        half.lose_write_connection();
        assert!(half.write_disconnected() && !half.disconnecting() && !half.aborted());
        half.write(b"too late");
        assert_eq!(half.value(), b"last");

        let whole = StringTransport::new();
        whole.lose_connection();
        assert!(!whole.write_disconnected() && whole.disconnecting() && !whole.aborted());

        let aborted = StringTransport::new();
        aborted.write(b"lost");
        aborted.abort_connection();
        assert!(!aborted.write_disconnected() && !aborted.disconnecting() && aborted.aborted());
        assert_eq!(aborted.value(), b"");
    }
}
