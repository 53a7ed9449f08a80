//! The handle by which protocols and programs use a connection: ITransport, ITCPTransport, IConsumer, IPushProducer.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use ropewalk_proto::{Address, StreamState};
use ropewalk_sys::{RawIo, SocketOption};

use super::stream::Stream;
use super::{Connector, Producer};
use crate::error::{Error, Result};
use crate::protocols::Protocol;
use crate::reactor::Reactor;

/// One connection. A cheap handle: clones are the same connection, and may be kept beyond its end.
///
/// All methods may be called from any callback on the reactor's thread. None of them calls the connection's own protocol;
/// what they bring about comes after the present callback. After the end of the connection they do nothing, or return
/// [`Error::Closed`].
#[derive(Clone)]
pub struct Transport(pub(super) Rc<Stream>);

impl Transport {
    /// Sends a copy of `data`, after everything written before.
    ///
    /// Small pieces leave together when the present callback returns. What the peer is too slow for is queued here;
    /// [`register_producer`](Transport::register_producer) keeps that bounded. After `abort_connection` or the end, it is
    /// dropped; after `lose_write_connection` too, unless a producer is registered.
    pub fn write(&self, data: &[u8]) {
        self.0.write(data);
    }

    /// Sends `data` without a copy where that is cheaper.
    pub fn write_bytes(&self, data: Bytes) {
        self.0.write_bytes(data);
    }

    /// Sends all pieces, in order.
    pub fn write_sequence<I>(&self, pieces: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        for piece in pieces {
            self.0.write(piece.as_ref());
        }
    }

    /// Closes the connection after what is queued has been sent, and after a registered producer has unregistered.
    /// Reading stops at once.
    pub fn lose_connection(&self) {
        self.0.lose();
    }

    /// Ends the sending direction after what is queued has been sent, and after a registered producer has unregistered;
    /// the peer sees the end of the file. Reading goes on.
    pub fn lose_write_connection(&self) {
        self.0.change(StreamState::lose_write);
    }

    /// Resets the connection: what is queued or under way is dropped, and the peer sees a broken connection.
    pub fn abort_connection(&self) {
        self.0.change(StreamState::abort);
    }

    /// Stops reading: no `data_received` comes until [`resume_producing`](Transport::resume_producing).
    pub fn pause_producing(&self) {
        self.0.change(StreamState::pause);
    }

    /// Reads again.
    pub fn resume_producing(&self) {
        self.0.change(StreamState::resume);
    }

    /// Has `producer` paused while more than the high-water mark is queued here: IConsumer.registerProducer.
    ///
    /// # Errors
    /// [`Error::ProducerRegistered`] when there is one. When the connection is over already, the producer is told to
    /// stop, and that is no error.
    pub fn register_producer(&self, producer: impl Into<Producer>) -> Result<()> {
        self.0.register_producer(producer.into())
    }

    /// The producer is done: nothing pauses it any more, and a pending `lose_connection` goes on.
    pub fn unregister_producer(&self) {
        self.0.unregister_producer();
    }

    /// Sets how many queued bytes pause the producer, and down to how many the queue must drain to resume it; 65536 and
    /// 32768 at first. `low` is capped at `high`.
    pub fn set_watermarks(&self, high: usize, low: usize) {
        self.0.set_watermarks(high, low);
    }

    /// How many written bytes wait to be handed to the operating system.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Whether the connection has not ended.
    pub fn is_connected(&self) -> bool {
        !self.0.state().is_lost()
    }

    /// Whether `lose_connection` was called and the connection has not ended yet.
    pub fn is_disconnecting(&self) -> bool {
        self.0.state().is_losing()
    }

    /// Whether `pause_producing` was called, and `resume_producing` not since.
    pub fn is_paused(&self) -> bool {
        self.is_producing() && !self.0.state().wants_reading()
    }

    /// Whether more may arrive, now or after a pause.
    pub(super) fn is_producing(&self) -> bool {
        let state = self.0.state();
        state.is_open() && !state.is_read_ended()
    }

    /// The other end: getPeer. Known also after the end. Behind a load balancer that says so (`haproxy:`), it is who
    /// connected to that.
    pub fn peer(&self) -> &Address {
        self.0.proxied.get().map_or(&self.0.peer, |proxied| &proxied[0])
    }

    /// This end: getHost. Behind a load balancer that says so, it is where the peer connected to.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end.
    pub fn host(&self) -> Result<Address> {
        if let (Some(proxied), true) = (self.0.proxied.get(), self.is_connected()) {
            return Ok(proxied[1].clone());
        }
        self.0.ask("cannot get the address of a connection", |provider, key| provider.local_address(key))
    }

    /// Whether small writes are sent at once: TCP_NODELAY. `false` for a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end.
    pub fn tcp_no_delay(&self) -> Result<bool> {
        self.tcp_option(SocketOption::NoDelay)
    }

    /// Switches TCP_NODELAY; nothing happens on a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end.
    pub fn set_tcp_no_delay(&self, on: bool) -> Result<()> {
        self.set_tcp_option(SocketOption::NoDelay, on)
    }

    /// Whether an idle connection is probed: SO_KEEPALIVE. `false` for a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end.
    pub fn tcp_keep_alive(&self) -> Result<bool> {
        self.tcp_option(SocketOption::KeepAlive)
    }

    /// Switches SO_KEEPALIVE; nothing happens on a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end.
    pub fn set_tcp_keep_alive(&self, on: bool) -> Result<()> {
        self.set_tcp_option(SocketOption::KeepAlive, on)
    }

    /// The socket itself, for what this interface does not offer: ISystemHandle. It stays the reactor's. `None` after the
    /// end and on a simulated network.
    pub fn handle(&self) -> Option<RawIo> {
        self.0.ask("", |provider, key| Ok(provider.raw_io(key))).ok().flatten()
    }

    /// Replaces the protocol, from a callback or from outside. The new one is not told `connection_made`; it gets what
    /// arrives from the next delivery on. The old one is dropped.
    pub fn switch_protocol(&self, protocol: Box<dyn Protocol>) {
        self.0.switch_protocol(protocol);
    }

    /// The connector that made this connection, on the client side.
    pub fn connector(&self) -> Option<Connector> {
        self.0.connector()
    }

    /// The reactor of this connection.
    ///
    /// # Panics
    /// When that reactor has been dropped, which cannot be inside a callback. See
    /// [`try_reactor`](Transport::try_reactor).
    pub fn reactor(&self) -> Reactor {
        self.try_reactor().expect("the reactor of this transport has been dropped")
    }

    /// The reactor of this connection, unless it has been dropped.
    pub fn try_reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade().map(Reactor)
    }

    /// A handle that does not keep the connection's memory alive.
    pub fn downgrade(&self) -> WeakTransport {
        WeakTransport(Rc::downgrade(&self.0))
    }

    /// Has the two ends be these from here on; what was said first stays.
    pub(crate) fn set_proxied(&self, source: Address, destination: Address) {
        let _ = self.0.proxied.set(Box::new([source, destination]));
    }

    fn tcp_option(&self, option: SocketOption) -> Result<bool> {
        if self.0.peer.inet().is_none() {
            return if self.is_connected() { Ok(false) } else { Err(Error::Closed) };
        }
        self.0.ask("cannot get a socket option", |provider, key| provider.option(key, option))
    }

    fn set_tcp_option(&self, option: SocketOption, on: bool) -> Result<()> {
        if self.0.peer.inet().is_none() {
            return if self.is_connected() { Ok(()) } else { Err(Error::Closed) };
        }
        self.0.ask("cannot set a socket option", |provider, key| provider.set_option(key, option, on))
    }
}

impl PartialEq for Transport {
    /// Whether both are the same connection.
    fn eq(&self, other: &Transport) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Transport {}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("peer", self.peer()).field("state", &self.0.state()).finish_non_exhaustive()
    }
}

/// A [`Transport`] that does not keep the connection's memory alive.
#[derive(Clone)]
pub struct WeakTransport(Weak<Stream>);

impl WeakTransport {
    /// The transport, while somebody else keeps it.
    pub fn upgrade(&self) -> Option<Transport> {
        self.0.upgrade().map(Transport)
    }
}
