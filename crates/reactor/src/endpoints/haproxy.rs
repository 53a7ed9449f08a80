//! A server behind a load balancer that says whose connections it forwards: the PROXY protocol, `haproxy:`.
//!
//! ```text
//!   accepted --> header awaited --+-- whole ----> the factory is asked with the forwarded peer --> its protocol
//!                                 |
//!                                 +-- wrong, too slow --> reset
//!   too many wait, or the factory has no place --> closed
//! ```
//!
//! The original builds its protocol when the connection is accepted, and changes the addresses later; here a factory, and
//! whatever policy wraps it, sees the peer that it serves.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderParser};
use ropewalk_proto::{Address, Deferred};

use super::StreamServerEndpoint;
use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;
use crate::protocols::forward::forward_factory;
use crate::protocols::{Factory, Protocol};
use crate::transports::{Port, Transport};

/// How long a header may take: a balancer sends it first.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections may be without one.
const WAITING_MAX: usize = 1024;

/// Listens by another endpoint, for connections that begin with a PROXY protocol header: `haproxy:`.
///
/// The transports' [`peer`](Transport::peer) and [`host`](Transport::host), and the address that the factory is asked
/// with, are those of the forwarded connection. Until then a connection takes a place of a factory that limits how many
/// there are ([`Factory::reserve`]). Anybody who can connect can claim any address: listen where only the
/// balancer can.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::endpoints::{HaproxyServerEndpoint, StreamServerEndpoint, TcpServerEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// let endpoint = HaproxyServerEndpoint::new(TcpServerEndpoint::new("10.0.0.1:80")?)
///     .header_timeout(Duration::from_secs(3))
///     .waiting_max(100);
/// endpoint.listen(&net, Rc::new(server.factory()));
/// let balancer = net.connect_stream("10.0.0.1:80");
/// balancer.write(b"PROXY TCP4 192.0.2.7 192.0.2.80 5000 80\r\nhello");
/// net.settle();
/// assert_eq!(server.data(), b"hello");
/// assert_eq!(server.transport().unwrap().peer().to_string(), "192.0.2.7:5000");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct HaproxyServerEndpoint {
    inner: Rc<dyn StreamServerEndpoint>,
    header_timeout: Duration,
    waiting_max: usize,
}

impl HaproxyServerEndpoint {
    /// Listens by `inner`. A header may take 10 seconds, and 1024 connections may be without one.
    pub fn new(inner: impl StreamServerEndpoint + 'static) -> HaproxyServerEndpoint {
        HaproxyServerEndpoint { inner: Rc::new(inner), header_timeout: HEADER_TIMEOUT, waiting_max: WAITING_MAX }
    }

    /// Resets a connection whose header is not there after so long.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> HaproxyServerEndpoint {
        self.header_timeout = timeout;
        self
    }

    /// Closes a new connection while so many wait for their headers.
    #[must_use]
    pub fn waiting_max(mut self, connections: usize) -> HaproxyServerEndpoint {
        self.waiting_max = connections;
        self
    }
}

impl StreamServerEndpoint for HaproxyServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let seats = Rc::new(Cell::new(self.waiting_max));
        self.inner.listen(reactor, Rc::new(HeaderFactory { factory, header_timeout: self.header_timeout, seats }))
    }
}

/// Builds what awaits a header.
struct HeaderFactory {
    factory: Rc<dyn Factory>,
    header_timeout: Duration,
    /// How many more connections may be without a header.
    seats: Rc<Cell<usize>>,
}

impl Factory for HeaderFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let left = self.seats.get().checked_sub(1)?;
        let place = self.factory.reserve()?;
        self.seats.set(left);
        let waiting = Waiting {
            factory: self.factory.clone(),
            place: Some(place),
            parser: ProxyHeaderParser::new(),
            timeout: self.header_timeout,
            timer: None,
            seats: self.seats.clone(),
        };
        Some(Box::new(Forwarded::Waiting(Box::new(waiting))))
    }

    forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

/// One connection, before and behind its header.
enum Forwarded {
    Waiting(Box<Waiting>),
    Open(Box<dyn Protocol>),
    /// The factory built no protocol, or the header was wrong.
    Refused,
}

/// A connection without a header.
struct Waiting {
    factory: Rc<dyn Factory>,
    /// Given back when the factory is asked for the protocol, which takes its own.
    place: Option<Box<dyn Any>>,
    parser: ProxyHeaderParser,
    timeout: Duration,
    timer: Option<DelayedCall>,
    seats: Rc<Cell<usize>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.seats.set(self.seats.get() + 1);
        if let Some(timer) = self.timer.take() {
            let _ = timer.cancel();
        }
    }
}

impl Waiting {
    fn start_timer(&mut self, transport: &Transport) {
        let slow = transport.downgrade();
        self.timer = Some(transport.reactor().call_later(self.timeout, move |_| {
            if let Some(transport) = slow.upgrade() {
                refuse(&transport, &"no PROXY protocol header came in time");
            }
        }));
    }

    /// The protocol of the forwarded connection, once its header is there.
    fn take_header(&mut self, transport: &Transport, data: &mut &[u8]) -> Option<Forwarded> {
        match self.parser.parse(data) {
            Ok(None) => return None,
            Ok(Some(ProxyHeader::Proxied { source, destination })) => transport.set_forwarded(source, destination),
            Ok(Some(_)) => {}
            Err(error) => {
                refuse(transport, &error);
                return Some(Forwarded::Refused);
            }
        }
        self.place.take();
        let built = self.factory.build_protocol(transport.peer());
        Some(built.map_or(Forwarded::Refused, Forwarded::Open))
    }
}

fn refuse(transport: &Transport, reason: &dyn std::fmt::Display) {
    // At a level that a stranger cannot fill a disk with, unless that is asked for.
    tracing::info!(peer = %transport.peer(), %reason, "a connection without a PROXY header is reset");
    transport.abort_connection();
}

impl Forwarded {
    fn begin(&mut self, transport: &Transport, data: &[u8]) {
        let Forwarded::Open(protocol) = self else { return transport.lose_connection() };
        protocol.connection_made(transport);
        if data.is_empty() {
            return;
        }
        // It may have paused or lost the connection, or put another protocol in its place.
        match transport.is_delivering() {
            true => protocol.data_received(transport, data),
            false => transport.unread(data),
        }
    }
}

impl Protocol for Forwarded {
    fn connection_made(&mut self, transport: &Transport) {
        if let Forwarded::Waiting(waiting) = self {
            waiting.start_timer(transport);
        }
    }

    fn data_received(&mut self, transport: &Transport, mut data: &[u8]) {
        match self {
            Forwarded::Open(protocol) => protocol.data_received(transport, data),
            Forwarded::Refused => {}
            Forwarded::Waiting(waiting) => {
                if let Some(next) = waiting.take_header(transport, &mut data) {
                    *self = next;
                    self.begin(transport, data);
                }
            }
        }
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        match self {
            Forwarded::Open(protocol) => protocol.chunk_received(transport, chunk),
            Forwarded::Waiting(_) | Forwarded::Refused => self.data_received(transport, &chunk),
        }
    }

    fn layer_opened(&mut self, transport: &Transport) {
        if let Forwarded::Open(protocol) = self {
            protocol.layer_opened(transport);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        match self {
            Forwarded::Open(protocol) => protocol.read_connection_lost(transport),
            Forwarded::Waiting(_) | Forwarded::Refused => transport.lose_connection(),
        }
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        if let Forwarded::Open(protocol) = self {
            protocol.write_connection_lost(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        if let Forwarded::Open(protocol) = self {
            protocol.connection_lost(transport, reason);
        }
    }

    fn log_prefix(&self) -> &'static str {
        match self {
            Forwarded::Open(protocol) => protocol.log_prefix(),
            Forwarded::Waiting(_) | Forwarded::Refused => "haproxy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::TcpServerEndpoint;
    use crate::protocols::policies::{
        LimitConnectionsByPeer, LimitTotalConnectionsFactory, ThrottlingFactory, TimeoutFactory,
    };
    use crate::testing::{AccumulatingProtocol, Faults, MemoryReactor, TestStream};

    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n";
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xd4\x31\x01\xbb";

    fn endpoint() -> HaproxyServerEndpoint {
        HaproxyServerEndpoint::new(TcpServerEndpoint::new("10.0.0.1:80").unwrap())
    }

    fn listen(net: &MemoryReactor, endpoint: &HaproxyServerEndpoint, factory: impl Factory + 'static) {
        endpoint.listen(net, Rc::new(factory)).try_result().unwrap().unwrap();
    }

    fn serve(net: &MemoryReactor) -> (AccumulatingProtocol, TestStream) {
        let server = AccumulatingProtocol::new();
        listen(net, &endpoint(), server.factory());
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        (server, client)
    }

    #[test]
    fn the_forwarded_addresses_are_those_of_the_transport() {
        for header in [HEADER, BINARY] {
            let net = MemoryReactor::seeded(1).with_faults(Faults::none().short_reads());
            let (server, client) = serve(&net);
            client.write(header);
            client.write(b"hello");
            net.settle();
            assert_eq!(server.data(), b"hello");
            let transport = server.transport().unwrap();
            assert_eq!(transport.peer().to_string(), "192.0.2.1:54321");
            assert_eq!(transport.host().unwrap().to_string(), "198.51.100.7:443");
            assert!(format!("{transport:?}").contains("192.0.2.1"));
            client.close();
            net.settle();
            assert_eq!(transport.peer().to_string(), "192.0.2.1:54321", "known after the end, too");
            assert!(matches!(transport.host(), Err(Error::Closed)));
        }
    }

    #[test]
    fn the_protocol_is_made_when_the_header_is_there_and_not_before() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(&HEADER[..HEADER.len() - 1]);
        net.settle();
        assert_eq!(server.made(), 0);
        client.write(b"\n");
        net.settle();
        assert_eq!((server.made(), server.data()), (1, Vec::new()));
    }

    #[test]
    fn a_header_without_addresses_leaves_the_connections_own() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"PROXY UNKNOWN\r\nhello");
        net.settle();
        let transport = server.transport().unwrap();
        assert_eq!(transport.host().unwrap().to_string(), "10.0.0.1:80");
        assert_eq!(server.data(), b"hello");
    }

    #[test]
    fn a_connection_that_begins_otherwise_is_reset_and_nobody_is_told() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"GET / HTTP/1.1\r\n\r\n");
        net.settle();
        assert!(client.is_reset());
        assert_eq!(server.made(), 0);
        assert_eq!((net.open_sources(), net.get_delayed_calls().len()), (1, 0));
    }

    #[test]
    fn a_header_that_does_not_come_in_time_ends_the_connection() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        for &byte in &HEADER[..9] {
            client.write(&[byte]);
            net.advance(Duration::from_millis(1100));
        }
        assert!(!client.is_reset());
        net.advance(Duration::from_millis(100));
        assert!(client.is_reset());
        assert_eq!((server.made(), net.open_sources()), (0, 1));
    }

    #[test]
    fn the_timeout_ends_with_the_header() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(HEADER);
        net.settle();
        assert!(net.get_delayed_calls().is_empty());
        net.advance(HEADER_TIMEOUT * 2);
        assert!(server.transport().is_some() && !client.is_reset());
    }

    #[test]
    fn a_client_that_leaves_before_its_header_leaves_nothing_behind() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"PROXY");
        client.close();
        net.settle();
        assert_eq!((server.made(), net.open_sources(), net.get_delayed_calls().len()), (0, 1, 0));
    }

    #[test]
    fn only_so_many_connections_may_be_without_a_header() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        listen(&net, &endpoint().waiting_max(2), server.factory());
        let clients: Vec<_> = (0..3).map(|_| net.connect_stream("10.0.0.1:80")).collect();
        net.settle();
        assert_eq!(clients.iter().map(TestStream::is_eof).collect::<Vec<_>>(), [false, false, true]);
        clients[0].write(HEADER);
        clients[1].close();
        net.settle();
        let more: Vec<_> = (0..3).map(|_| net.connect_stream("10.0.0.1:80")).collect();
        net.settle();
        assert_eq!(more.iter().map(TestStream::is_eof).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(server.made(), 1);
    }

    #[test]
    fn a_connection_without_a_header_takes_a_place_of_those_that_are_limited() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let minute = Duration::from_secs(60);
        let factory = Rc::new(LimitTotalConnectionsFactory::new(TimeoutFactory::new(server.factory(), minute), 2));
        listen(&net, &endpoint(), ThrottlingFactory::new(factory.clone()));
        let clients: Vec<_> = (0..3).map(|_| net.connect_stream("10.0.0.1:80")).collect();
        net.settle();
        assert_eq!(clients.iter().map(TestStream::is_eof).collect::<Vec<_>>(), [false, false, true]);
        clients[0].write(HEADER);
        clients[0].write(b"hello");
        net.settle();
        assert_eq!((server.data(), factory.connection_count()), (b"hello".to_vec(), 2), "one connection, one place");
        let late = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(late.is_eof());
        clients[1].close();
        net.settle();
        assert_eq!(factory.connection_count(), 1);
        let _silent = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert_eq!(factory.connection_count(), 2);
        net.advance(HEADER_TIMEOUT);
        assert_eq!(factory.connection_count(), 1);
    }

    #[test]
    fn a_throttled_factory_counts_those_without_a_header_too() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        listen(&net, &endpoint(), ThrottlingFactory::new(LimitTotalConnectionsFactory::new(server.factory(), 1)));
        let clients = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        net.settle();
        assert!(!clients[0].is_eof() && clients[1].is_eof());
        clients[0].write(HEADER);
        net.settle();
        assert_eq!(server.made(), 1);
    }

    #[test]
    fn a_header_within_a_header_waits_at_one_place() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let factory = Rc::new(LimitTotalConnectionsFactory::new(server.factory(), 1));
        listen(&net, &HaproxyServerEndpoint::new(endpoint()), factory.clone());
        let client = net.connect_stream("10.0.0.1:80");
        for count in [0, 1, 2] {
            assert_eq!(server.made(), 0, "after {count} headers");
            net.settle();
            assert_eq!(factory.connection_count(), 1, "after {count} headers");
            client.write(HEADER);
        }
        net.settle();
        assert_eq!((server.made(), server.data(), factory.connection_count()), (1, HEADER.to_vec(), 1));
    }

    #[test]
    fn who_waits_beyond_the_limit_overflows_when_its_header_comes_and_nobody_in_its_place() {
        struct Busy;
        impl Protocol for Busy {
            fn connection_made(&mut self, transport: &Transport) {
                transport.write(b"busy");
            }
            fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        }
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        listen(&net, &endpoint(), LimitTotalConnectionsFactory::new(server.factory(), 1).overflow(|| Busy));
        let clients = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        net.settle();
        clients[1].write(HEADER);
        net.settle();
        assert_eq!((server.made(), clients[1].received()), (0, b"busy".to_vec()));
        clients[1].close();
        net.settle();
        clients[0].write(HEADER);
        net.settle();
        assert_eq!((server.made(), clients[0].received()), (1, Vec::new()));
    }

    #[test]
    fn a_policy_sees_the_forwarded_peer() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        listen(&net, &endpoint(), LimitConnectionsByPeer::new(server.factory(), 1));
        let header = |peer: &str| format!("PROXY TCP4 {peer} 10.0.0.1 1 80\r\n");
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|peer| {
            let client = net.connect_stream("10.0.0.1:80");
            client.write(header(peer).as_bytes());
            client
        });
        net.settle();
        assert_eq!(server.made(), 2);
        assert_eq!(clients.map(|client| client.is_eof()), [false, false, true]);
    }

    #[test]
    fn what_follows_the_header_waits_while_the_protocol_is_paused_and_reaches_its_successor() {
        struct Hands(AccumulatingProtocol);
        impl Protocol for Hands {
            fn connection_made(&mut self, transport: &Transport) {
                transport.pause_producing();
                let mut successor = self.0.clone();
                successor.connection_made(transport);
                transport.switch_protocol(Box::new(successor));
            }
            fn data_received(&mut self, _: &Transport, _: &[u8]) {
                unreachable!("it handed the connection on");
            }
        }
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let factory = server.clone();
        listen(&net, &endpoint(), move || Hands(factory.clone()));
        let client = net.connect_stream("10.0.0.1:80");
        client.write(HEADER);
        client.write(b"hello");
        net.settle();
        assert_eq!(server.data(), b"");
        server.transport().unwrap().resume_producing();
        net.settle();
        assert_eq!(server.data(), b"hello");
    }
}
