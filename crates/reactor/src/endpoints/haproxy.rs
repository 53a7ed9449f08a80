//! A server behind a load balancer that forwards connections with the PROXY protocol: `haproxy:`.
//!
//! ```text
//!   accepted --> layer waits for the header --+-- complete ------> build_protocol(forwarded peer) --> its protocol
//!                                             |
//!                                             +-- wrong, late ---> reset
//!   too many connections wait, or the factory has no place --> closed
//! ```
//!
//! A layer parses the header and then ends. The bytes that follow the header belong to the new protocol.
//!
//! Twisted builds its protocol when the connection is accepted, and changes the addresses later. Here the factory and
//! its policies get the address of the forwarded peer.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderError, ProxyHeaderParser};
use ropewalk_proto::{Address, Deferred, Layer, LayerState, Outbox};

use super::StreamServerEndpoint;
use crate::error::Error;
use crate::kernel::Reactor;
use crate::protocols::forward::forward_factory;
use crate::protocols::{Factory, Protocol};
use crate::transports::{Port, Transport};

/// The default time limit for the header, which the balancer sends first.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The default number of connections that may wait for their header.
const WAITING_MAX: usize = 1024;

/// Listens by another endpoint, for connections that begin with a PROXY protocol header: `haproxy:`.
///
/// The factory and the transport ([`peer`](Transport::peer), [`host`](Transport::host)) get the addresses of the
/// forwarded connection. While a connection waits for its header, it takes a place of a factory that limits its
/// connections ([`Factory::reserve`]). Every peer that can connect can claim any address. So listen where only the
/// balancer can connect.
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
/// let _port = endpoint.listen(&net, Rc::new(server.factory()));
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
    /// Creates an endpoint that listens by `inner`. A header may take 10 seconds, and up to 1024 connections may wait
    /// for their header.
    pub fn new(inner: impl StreamServerEndpoint + 'static) -> HaproxyServerEndpoint {
        HaproxyServerEndpoint { inner: Rc::new(inner), header_timeout: HEADER_TIMEOUT, waiting_max: WAITING_MAX }
    }

    /// Sets the time limit for a header. A connection without a complete header by that time is reset.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> HaproxyServerEndpoint {
        self.header_timeout = timeout;
        self
    }

    /// Sets the maximum number of connections that wait for their headers. Further connections are closed.
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

/// Builds protocols that wait for a header.
struct HeaderFactory {
    factory: Rc<dyn Factory>,
    header_timeout: Duration,
    /// The number of further connections that may wait for their header.
    seats: Rc<Cell<usize>>,
}

impl Factory for HeaderFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let left = self.seats.get().checked_sub(1)?;
        let place = self.factory.reserve()?;
        self.seats.set(left);
        Some(Box::new(Waiting {
            factory: self.factory.clone(),
            place: Some(place),
            timeout: self.header_timeout,
            seats: self.seats.clone(),
        }))
    }

    forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

/// Parses the header at the start of a connection, and then ends.
#[derive(Default)]
struct HeaderLayer {
    parser: ProxyHeaderParser,
    header: Option<Result<ProxyHeader, ProxyHeaderError>>,
}

impl Layer for HeaderLayer {
    fn incoming(&mut self, received: &mut [u8], _plain: &mut Outbox, _queue: &mut Outbox) -> io::Result<usize> {
        let mut rest = &*received;
        // A wrong header does not fail the layer, because a failed layer closes its connection without a reset. The
        // protocol resets the connection instead.
        self.header = self.parser.parse(&mut rest).transpose();
        Ok(received.len() - rest.len())
    }

    fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
        Ok(())
    }

    fn outgoing(&mut self, _: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, _most: usize) -> io::Result<()> {
        while let Some(chunk) = plain.take_chunk() {
            queue.write_bytes(chunk);
        }
        Ok(())
    }

    fn close(&mut self, _held: &mut [u8], _queue: &mut Outbox) {}

    fn state(&self) -> LayerState {
        match self.header {
            Some(_) => LayerState::OPEN | LayerState::DONE,
            None => LayerState::empty(),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The protocol of a connection that waits for its header.
struct Waiting {
    factory: Rc<dyn Factory>,
    /// The connection's place while it waits. The place is released before the factory builds the protocol, which takes
    /// a new place.
    place: Option<Box<dyn Any>>,
    timeout: Duration,
    seats: Rc<Cell<usize>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.seats.set(self.seats.get() + 1);
    }
}

impl Waiting {
    fn begin_forwarded(&mut self, transport: &Transport, header: ProxyHeader) {
        if let ProxyHeader::Proxied { source, destination } = header {
            transport.set_forwarded(source, destination);
        }
        self.place.take();
        match self.factory.build_protocol(transport.peer()) {
            Some(protocol) => transport.hand_over(protocol),
            None => transport.lose_connection(),
        }
    }
}

/// Logs at a low level, because any peer can cause these messages. At a higher level a peer could fill a disk with
/// them.
fn log_refusal(transport: &Transport, reason: &dyn Display) {
    tracing::info!(peer = %transport.peer(), %reason, "a connection without a PROXY header is reset");
}

impl Protocol for Waiting {
    fn connection_made(&mut self, transport: &Transport) {
        if let Err(error) = transport.start_layer(Box::<HeaderLayer>::default(), self.timeout) {
            log_refusal(transport, &error);
            transport.abort_connection();
        }
    }

    fn layer_opened(&mut self, transport: &Transport) {
        let header = transport.with_layer(|layer| layer.downcast_ref::<HeaderLayer>()?.header.clone());
        match header.flatten() {
            Some(Ok(header)) => self.begin_forwarded(transport, header),
            Some(Err(error)) => {
                log_refusal(transport, &error);
                transport.abort_connection();
            }
            None => {}
        }
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        match reason {
            Error::ConnectionLost(Some(error)) if error.kind() == io::ErrorKind::TimedOut => {
                log_refusal(transport, &"no PROXY protocol header came in time");
            }
            _ => {}
        }
    }

    fn log_prefix(&self) -> &'static str {
        "haproxy"
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
    fn a_header_sets_the_addresses_of_the_transport() {
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
            assert_eq!(transport.peer().to_string(), "192.0.2.1:54321", "known also after the end");
            assert!(matches!(transport.host(), Err(Error::Closed)));
        }
    }

    #[test]
    fn a_complete_header_builds_the_protocol() {
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
    fn a_header_without_addresses_leaves_the_sockets_addresses() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"PROXY UNKNOWN\r\nhello");
        net.settle();
        let transport = server.transport().unwrap();
        assert_eq!(transport.host().unwrap().to_string(), "10.0.0.1:80");
        assert_eq!(server.data(), b"hello");
    }

    #[test]
    fn a_wrong_header_resets_the_connection() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"GET / HTTP/1.1\r\n\r\n");
        net.settle();
        assert!(client.is_reset());
        assert_eq!(server.made(), 0);
        assert_eq!((net.open_sources(), net.get_delayed_calls().len()), (1, 0));
    }

    #[test]
    fn a_late_header_resets_the_connection() {
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
    fn a_header_cancels_the_timeout() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(HEADER);
        net.settle();
        assert!(net.get_delayed_calls().is_empty());
        net.advance(HEADER_TIMEOUT * 2);
        assert!(server.transport().is_some() && !client.is_reset());
    }

    #[test]
    fn an_early_close_releases_the_connection() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.write(b"PROXY");
        client.close();
        net.settle();
        assert_eq!((server.made(), net.open_sources(), net.get_delayed_calls().len()), (0, 1, 0));
    }

    #[test]
    fn waiting_max_bounds_the_connections_without_a_header() {
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
    fn a_connection_without_a_header_takes_a_limited_place() {
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
    fn a_throttled_factory_counts_waiting_connections() {
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
    fn a_header_within_a_header_takes_one_place() {
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
    fn a_header_beyond_the_limit_builds_the_overflow_protocol() {
        // The connection that waits within the limit keeps its place.
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
    fn a_successor_gets_the_bytes_behind_the_header() {
        // The bytes wait while the first protocol is paused.
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
