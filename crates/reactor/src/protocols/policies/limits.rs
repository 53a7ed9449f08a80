//! Limits on the number of connections: in total, and per peer.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use ropewalk_proto::Address;

use super::begun::on_connection;
use crate::error::Error;
use crate::protocols::forward::{forward_client_factory, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::Connector;

/// The place of one counted connection. Dropping the value releases the place, at the end of the connection or before
/// its start.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(taken: &Rc<Cell<usize>>) -> Place {
        taken.set(taken.get() + 1);
        Place(taken.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A factory that limits the number of simultaneous connections.
///
/// A connection beyond the limit is closed at once, or served by an overflow factory, which can tell the peer why.
/// Connections with an overflow protocol are counted as well.
///
/// Behind `haproxy:`, connections still waiting for their PROXY header count against the limit. If the limit is
/// reached, a new connection is closed. With an overflow factory the connection is kept instead, and is not counted
/// until its header arrives.
///
/// Share the factory in an `Rc` to ask for the number of connections, from any callback.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::policies::LimitTotalConnectionsFactory;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// struct Full;
///
/// impl Protocol for Full {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write(b"come back later\n");
///         transport.lose_connection();
///     }
///
///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
/// }
///
/// let net = MemoryReactor::new();
/// let limited = LimitTotalConnectionsFactory::new(AccumulatingProtocol::new().factory(), 1).overflow(|| Full);
/// let limited = Rc::new(limited);
/// net.listen_tcp("10.0.0.1:80", limited.clone())?;
/// let (first, second) = (net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80"));
/// net.settle();
/// assert!(first.is_connected() && second.received() == b"come back later\n");
/// # drop(second);
/// # net.settle();
/// assert_eq!(limited.connection_count(), 1);
/// # Ok::<(), Error>(())
/// ```
pub struct LimitTotalConnectionsFactory<F> {
    factory: F,
    connection_limit: usize,
    overflow: Option<Rc<dyn Factory>>,
    taken: Rc<Cell<usize>>,
}

impl<F: Factory> LimitTotalConnectionsFactory<F> {
    /// Wraps `factory`, and allows at most `connection_limit` connections at the same time.
    pub fn new(factory: F, connection_limit: usize) -> LimitTotalConnectionsFactory<F> {
        LimitTotalConnectionsFactory { factory, connection_limit, overflow: None, taken: Rc::default() }
    }

    /// Sets the factory for connections beyond the limit. Its `start_factory` and `stop_factory` are not called.
    #[must_use]
    pub fn overflow(mut self, factory: impl Factory + 'static) -> LimitTotalConnectionsFactory<F> {
        self.overflow = Some(Rc::new(factory));
        self
    }

    /// Returns the number of connections with a protocol or a reserved place, including those beyond the limit.
    pub fn connection_count(&self) -> usize {
        self.taken.get()
    }
}

impl<F: Factory> Factory for LimitTotalConnectionsFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = match self.taken.get() < self.connection_limit {
            true => self.factory.build_protocol(peer)?,
            false => self.overflow.as_ref()?.build_protocol(peer)?,
        };
        let place = Place::take(&self.taken);
        Some(on_connection(protocol, |transport| transport.keep_until_lost(place)))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        match (self.taken.get() < self.connection_limit, &self.overflow) {
            (true, _) => Some(Box::new((self.factory.reserve()?, Place::take(&self.taken)))),
            // The connection is kept without a place, because a place may be free when its header arrives.
            (false, Some(overflow)) => overflow.reserve(),
            (false, None) => None,
        }
    }

    forward_factory!(but reserve);
}

forward_client_factory!(LimitTotalConnectionsFactory);

/// A factory that limits the number of simultaneous connections from each peer. Further connections are closed at once.
///
/// The IP address identifies a peer, whatever its port. An IPv4 address mapped into IPv6 counts as the IPv4 address.
/// All peers of UNIX sockets count as one. Behind `haproxy:`, a connection counts from the moment its header names the
/// peer.
///
/// ```
/// use ropewalk::protocols::policies::LimitConnectionsByPeer;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", LimitConnectionsByPeer::new(server.factory(), 5))?;
/// let _greedy = [(); 8].map(|()| net.connect_stream("10.0.0.1:80"));
/// net.settle();
/// assert_eq!(server.made(), 5);
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct LimitConnectionsByPeer<F> {
    factory: F,
    connections_max: usize,
    taken: Rc<RefCell<HashMap<Option<IpAddr>, usize>>>,
}

struct PeerPlace {
    peer: Option<IpAddr>,
    taken: Rc<RefCell<HashMap<Option<IpAddr>, usize>>>,
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut taken = self.taken.borrow_mut();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

impl<F: Factory> LimitConnectionsByPeer<F> {
    /// Wraps `factory`, and allows at most `connections_max` connections from each peer. Twisted's default is 5.
    pub fn new(factory: F, connections_max: usize) -> LimitConnectionsByPeer<F> {
        LimitConnectionsByPeer { factory, connections_max, taken: Rc::default() }
    }
}

impl<F: Factory> Factory for LimitConnectionsByPeer<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let ip = peer.inet().map(|address| address.ip().to_canonical());
        if self.taken.borrow().get(&ip).copied().unwrap_or(0) >= self.connections_max {
            return None;
        }
        let protocol = self.factory.build_protocol(peer)?;
        *self.taken.borrow_mut().entry(ip).or_insert(0) += 1;
        let place = PeerPlace { peer: ip, taken: self.taken.clone() };
        Some(on_connection(protocol, |transport| transport.keep_until_lost(place)))
    }

    forward_factory!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor, TestStream};
    use crate::transports::Transport;

    #[test]
    fn connections_beyond_the_limit_are_closed_until_one_ends() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let factory = Rc::new(LimitTotalConnectionsFactory::new(server.factory(), 2));
        net.listen_tcp("10.0.0.1:80", factory.clone()).unwrap();
        let clients: Vec<_> = (0..3).map(|_| net.connect_stream("10.0.0.1:80")).collect();
        net.settle();
        assert_eq!(clients.iter().map(TestStream::is_eof).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((server.made(), factory.connection_count()), (2, 2));
        clients[0].close();
        net.settle();
        assert_eq!(factory.connection_count(), 1);
        let late = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(!late.is_eof());
    }

    #[test]
    fn the_overflow_factory_serves_excess_connections() {
        struct Busy;
        impl Protocol for Busy {
            fn connection_made(&mut self, transport: &Transport) {
                transport.write(b"busy");
            }
            fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
        }
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let factory = Rc::new(LimitTotalConnectionsFactory::new(server.factory(), 1).overflow(|| Busy));
        net.listen_tcp("10.0.0.1:80", factory.clone()).unwrap();
        let clients = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        net.settle();
        assert_eq!(clients[1].received(), b"busy");
        assert_eq!((server.made(), factory.connection_count()), (1, 2));
    }

    #[test]
    fn a_switched_protocol_keeps_its_place() {
        struct Switch(AccumulatingProtocol);
        impl Protocol for Switch {
            fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
                transport.switch_protocol(Box::new(self.0.clone()));
            }
        }
        let net = MemoryReactor::new();
        let factory = Rc::new(LimitTotalConnectionsFactory::new(|| Switch(AccumulatingProtocol::new()), 5));
        net.listen_tcp("10.0.0.1:80", factory.clone()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"switch");
        net.settle();
        assert_eq!(factory.connection_count(), 1);
        client.abort();
        net.settle();
        assert_eq!(factory.connection_count(), 0);
    }

    #[test]
    fn an_unused_protocol_releases_its_place() {
        let factory = LimitTotalConnectionsFactory::new(AccumulatingProtocol::new, 1);
        let built = factory.build_protocol(&Address::Unnamed);
        assert!(built.is_some() && factory.build_protocol(&Address::Unnamed).is_none());
        drop(built);
        assert!(factory.build_protocol(&Address::Unnamed).is_some());
    }

    #[test]
    fn each_peer_address_has_its_own_limit() {
        let factory = LimitConnectionsByPeer::new(AccumulatingProtocol::new, 2);
        let build = |text: &str| factory.build_protocol(&Address::Inet(text.parse().unwrap()));
        let first = build("10.0.0.1:1000");
        let second = build("[::ffff:10.0.0.1]:1001");
        assert!(first.is_some() && second.is_some() && build("10.0.0.1:1002").is_none());
        assert!(build("10.0.0.2:1000").is_some());
        drop(first);
        assert!(build("10.0.0.1:1002").is_some());
        drop(second);
        assert!(factory.taken.borrow().is_empty(), "a peer without connections has no entry");
    }

    #[test]
    fn peers_of_unix_sockets_count_as_one() {
        let factory = LimitConnectionsByPeer::new(AccumulatingProtocol::new, 1);
        let built = factory.build_protocol(&Address::Unnamed);
        assert!(built.is_some() && factory.build_protocol(&Address::Abstract((*b"x").into())).is_none());
    }
}
