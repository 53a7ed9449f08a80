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

/// A real [`Transport`] that leads nowhere and keeps what is written to it: `StringTransport`.
///
/// It derefs to its transport. The test calls the protocol's methods itself, in any order it likes:
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
    /// Dropped last: it keeps the transport's reactor alive.
    transport: Transport,
    wire: TestStream,
    seat: Rc<RefCell<Seat>>,
    net: MemoryReactor,
}

/// What a transport is as a producer: whether its protocol asked it to pause.
///
/// ```
/// use ropewalk::testing::{ProducerState, StringTransport};
///
/// let transport = StringTransport::new();
/// assert_eq!(transport.producer_state(), ProducerState::Producing);
/// transport.pause_producing(); // as a protocol does that has enough
/// assert_eq!(transport.producer_state(), ProducerState::Paused);
/// transport.lose_connection();
/// assert_eq!(transport.producer_state(), ProducerState::Stopped);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerState {
    /// It reads.
    Producing,
    /// `pause_producing` was called.
    Paused,
    /// It will read no more: it is being closed, or is over.
    Stopped,
}

impl Default for StringTransport {
    fn default() -> Self {
        StringTransport::new()
    }
}

impl StringTransport {
    /// A connected one, from 10.0.0.1:54321 here to 192.168.1.1:54321 there.
    pub fn new() -> StringTransport {
        StringTransport::between("10.0.0.1:54321", "192.168.1.1:54321")
    }

    /// A connected one with these addresses, as for [`MemoryReactor::connect_stream`].
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::between("[2001:db8::1]:80", "[2001:db8::2]:5000");
    /// assert_eq!(transport.peer().to_string(), "[2001:db8::2]:5000");
    /// ```
    ///
    /// # Panics
    /// When one of them is not an address, or is none of TCP.
    pub fn between(host: &str, peer: &str) -> StringTransport {
        let net = MemoryReactor::new();
        let seat = Rc::new(RefCell::new(Seat::default()));
        let sitting = seat.clone();
        let port = net.listen_tcp(host, move || Sitter(sitting.clone())).expect("an address of TCP");
        let spec = ConnectSpec { address: parsed(host), bind: Some(parsed(peer)) };
        let wire = net.network().connect_from(spec);
        net.settle();
        drop(port.stop_listening());
        net.settle();
        let transport = seat.borrow_mut().transport.take().expect("two different addresses of TCP");
        StringTransport { transport, wire, seat, net }
    }

    /// Everything that was written and has left, since the beginning or since [`clear`](StringTransport::clear).
    pub fn value(&self) -> Vec<u8> {
        self.net.settle();
        self.wire.received()
    }

    /// Forgets what was written.
    pub fn clear(&self) {
        self.net.settle();
        self.wire.take_received();
    }

    /// Whether `lose_connection` was called: also when it has been carried out.
    pub fn disconnecting(&self) -> bool {
        self.net.settle();
        self.transport.is_disconnecting() || matches!(self.reason(), Some(Error::ConnectionDone))
    }

    /// Whether `lose_write_connection` was called and carried out.
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

    /// Whether `abort_connection` was called.
    pub fn aborted(&self) -> bool {
        self.net.settle();
        matches!(self.reason(), Some(Error::ConnectionAborted))
    }

    /// Whether the protocol lets the transport read.
    pub fn producer_state(&self) -> ProducerState {
        self.net.settle();
        match &self.transport {
            transport if !transport.is_connected() || transport.is_disconnecting() => ProducerState::Stopped,
            transport if transport.is_paused() => ProducerState::Paused,
            _ => ProducerState::Producing,
        }
    }

    /// The reactor of this transport, whose time stands still unless it is moved here.
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
        self.seat.borrow().reason.clone()
    }
}

impl Deref for StringTransport {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

/// What the protocol in whose place the tested one is called has been told.
#[derive(Default)]
struct Seat {
    transport: Option<Transport>,
    reason: Option<Error>,
}

/// Keeps the place of the protocol: the test calls that one itself.
struct Sitter(Rc<RefCell<Seat>>);

impl Protocol for Sitter {
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
    fn it_has_the_addresses_that_it_was_given() {
        let transport = StringTransport::between("[fe80::1]:80", "[fe80::2]:1234");
        assert_eq!(transport.host().unwrap(), parsed("[fe80::1]:80"));
        assert_eq!(*transport.peer(), parsed("[fe80::2]:1234"));
    }

    #[test]
    fn more_than_a_buffer_full_is_kept() {
        let transport = StringTransport::new();
        transport.write(&[1; 300_000]);
        assert_eq!(transport.value(), [1; 300_000]);
        transport.clear();
        assert_eq!(transport.value(), b"");
    }

    #[test]
    fn pausing_and_resuming_shows_in_the_producer_state() {
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
    fn losing_half_losing_all_and_aborting_can_be_told_apart() {
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
