//! The handle by which protocols and programs use a connection: ITransport, ITCPTransport, IConsumer, IPushProducer.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use ropewalk_proto::{Address, Deferred, StreamState};
use ropewalk_sys::RawSocket;

use super::producer::Producer;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Protocol;

/// A handle of one connection. Clones refer to the same connection, and may be kept after it has ended.
///
/// All methods may be called from any callback on the reactor's thread. No method calls the connection's own protocol.
/// The effects follow when the running callback has returned. After the end of the connection the methods do nothing,
/// or return [`Error::Closed`].
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::testing::MemoryReactor;
///
/// struct Greeter;
///
/// impl Protocol for Greeter {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write(format!("welcome, {}\n", transport.peer()).as_bytes());
///         transport.lose_connection(); // when the line has been sent
///     }
///
///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", || Greeter)?;
/// let visitor = net.connect_stream("10.0.0.1:80");
/// net.settle();
/// assert!(visitor.received().starts_with(b"welcome, "));
/// assert!(visitor.is_eof());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Transport(pub(super) Rc<Stream>);

impl Transport {
    /// Sends a copy of `data`, after all earlier writes.
    ///
    /// Small pieces are sent together when the running callback returns. Bytes that a slow peer does not take yet are
    /// queued here. To bound their number, use [`register_producer`](Transport::register_producer).
    ///
    /// After `abort_connection` or the end of the connection, `data` is dropped. After `lose_write_connection`, `data`
    /// is dropped unless a producer is registered.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport; // derefs to a Transport
    ///
    /// let transport = StringTransport::new();
    /// transport.write(b"hello, ");
    /// transport.write(b"world");
    /// assert_eq!(transport.value(), b"hello, world");
    /// ```
    #[inline]
    pub fn write(&self, data: &[u8]) {
        self.0.write(data);
    }

    /// Sends `data`, after all earlier writes. This method only queues and never calls the operating
    /// system. [`write`](Transport::write) sends a large slice at once if nothing is queued.
    ///
    /// Chunks of 1024 bytes or more are queued without a copy, and dropped when the system has taken their bytes.
    /// Smaller chunks are copied. The bytes leave when the running callback has returned or, outside callbacks, before
    /// the loop waits. They are dropped under the same conditions as those of `write`.
    ///
    /// A `Vec<u8>`, a `String`, a `Box<[u8]>` and static slices convert into [`Bytes`](crate::Bytes).
    /// `Bytes::from_owner` does the same for memory of another kind, such as a mapped file or an object of another
    /// language. Its owner must be `Send`. The owner may be dropped in any later turn, so its destructor must be able
    /// to run there.
    ///
    /// ```
    /// use ropewalk::Bytes;
    /// use ropewalk::testing::StringTransport;
    ///
    /// /// Memory that another library has allocated.
    /// struct Page(&'static [u8]);
    ///
    /// impl AsRef<[u8]> for Page {
    ///     fn as_ref(&self) -> &[u8] {
    ///         self.0
    ///     }
    /// }
    ///
    /// let page = Bytes::from(vec![b'x'; 100_000]); // cloning it copies no bytes
    /// let transport = StringTransport::new();
    /// transport.write_bytes(page.clone());
    /// transport.write_bytes(page.slice(..10));
    /// transport.write_bytes(vec![b'y'; 5000]);
    /// transport.write_bytes(Bytes::from_owner(Page(&[b'z'; 4096])));
    /// assert_eq!(transport.value().len(), 109_106);
    /// ```
    pub fn write_bytes(&self, data: impl Into<Bytes>) {
        self.0.write_bytes(data.into());
    }

    /// Sends all pieces, in order.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.write_sequence(["HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n\r\n", "ok"]);
    /// assert!(transport.value().ends_with(b"\r\n\r\nok"));
    /// ```
    pub fn write_sequence<I>(&self, pieces: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        for piece in pieces {
            self.0.write(piece.as_ref());
        }
    }

    /// Closes the connection after the queued bytes have been sent and after a registered producer has unregistered.
    /// Reading stops at once. [`Producer::Transport`] says how long this waits for a connection that produces.
    ///
    /// After `connection_lost` the socket [lingers](super::Linger) if the peer may still send.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.write(b"goodbye");
    /// transport.lose_connection();
    /// assert!(transport.is_connected()); // until "goodbye" has been sent
    /// assert_eq!(transport.value(), b"goodbye");
    /// assert!(!transport.is_connected());
    /// ```
    pub fn lose_connection(&self) {
        self.0.lose();
    }

    /// Closes the sending direction after the queued bytes have been sent and after a registered producer has
    /// unregistered.
    ///
    /// The peer then sees the end of the file. Reading continues.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.write(b"the whole request");
    /// transport.lose_write_connection();
    /// assert!(transport.write_disconnected()); // the peer sees the end of the file
    /// assert!(transport.is_connected()); // the answer may still come
    /// ```
    pub fn lose_write_connection(&self) {
        self.0.change(StreamState::lose_write);
    }

    /// Resets the connection. Bytes that are queued or in flight are dropped, and the peer sees a broken connection.
    /// `connection_lost` never runs within this call: it follows the running callback or, outside callbacks, comes in
    /// the next `prepare`.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.write(b"never sent");
    /// transport.abort_connection();
    /// assert!(transport.aborted());
    /// assert_eq!(transport.value(), b"");
    /// ```
    pub fn abort_connection(&self) {
        self.0.change(StreamState::abort);
    }

    /// Stops reading. The protocol gets no `data_received` until [`resume_producing`](Transport::resume_producing).
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// let transport = server.transport().expect("it is connected");
    /// transport.pause_producing();
    /// client.write(b"not yet");
    /// net.settle();
    /// assert_eq!(server.data(), b"");
    /// transport.resume_producing();
    /// net.settle();
    /// assert_eq!(server.data(), b"not yet");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn pause_producing(&self) {
        self.0.change(StreamState::pause);
    }

    /// Starts reading again after [`pause_producing`](Transport::pause_producing).
    pub fn resume_producing(&self) {
        self.0.change(StreamState::resume);
    }

    /// Registers `producer`. The connection pauses it while more bytes than the high-water mark are queued here:
    /// IConsumer.registerProducer.
    ///
    /// A connection that only answers its own peer needs no producer. See [`set_paced`](Transport::set_paced).
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// // The bytes of `from` are forwarded to `to`.
    /// let (from, to) = (StringTransport::new(), StringTransport::new());
    /// to.register_producer(from.clone())?;
    /// to.write(&[0; 1_000_000]);
    /// assert!(from.is_paused());
    /// to.net().settle();
    /// assert!(!from.is_paused());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ProducerRegistered`] when a producer is registered already. If the connection has ended, the producer
    /// is stopped and `Ok` is returned.
    pub fn register_producer(&self, producer: impl Into<Producer>) -> Result<()> {
        self.0.register_producer(producer.into())
    }

    /// Unregisters the producer, which is no longer paused or resumed. A pending `lose_connection` no longer waits for
    /// the producer.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (from, to) = (StringTransport::new(), StringTransport::new());
    /// to.register_producer(from.clone())?;
    /// to.lose_connection(); // waits for the producer
    /// assert!(to.is_disconnecting() && to.is_connected());
    /// to.unregister_producer();
    /// to.net().settle();
    /// assert!(!to.is_connected());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn unregister_producer(&self) {
        self.0.unregister_producer();
    }

    /// Stops the registered producer, as at the end of the connection, and unregisters it.
    ///
    /// A pending `lose_connection` no longer waits for the producer.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (from, to) = (StringTransport::new(), StringTransport::new());
    /// to.register_producer(from.clone())?;
    /// to.lose_connection(); // waits for the producer
    /// to.stop_producer();
    /// to.net().settle();
    /// assert!(!to.is_connected());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn stop_producer(&self) {
        if let Some(kernel) = self.0.reactor.upgrade() {
            self.0.stop_producer(&kernel);
        }
    }

    /// Sets the number of queued bytes above which the producer is paused, and the number down to which the queue must
    /// drain before it is resumed.
    ///
    /// The defaults are 65536 and 32768. `low` is capped at `high`.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (from, to) = (StringTransport::new(), StringTransport::new());
    /// to.set_watermarks(4096, 1024);
    /// to.register_producer(from.clone())?;
    /// to.write(&[0; 1000]);
    /// assert!(!from.is_paused());
    /// to.write(&[0; 100_000]);
    /// assert!(from.is_paused());
    /// to.net().settle();
    /// assert!(!from.is_paused());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_watermarks(&self, high: usize, low: usize) {
        self.0.set_watermarks(high, low);
    }

    /// Returns the number of written bytes that the operating system has not taken yet.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Sends the news to all listeners, and drops those that are a megabyte behind.
    /// fn broadcast(listeners: &[Transport], news: &[u8]) {
    ///     for listener in listeners {
    ///         match listener.buffered() > 1_000_000 {
    ///             true => listener.abort_connection(),
    ///             false => listener.write(news),
    ///         }
    ///     }
    /// }
    /// # let net = MemoryReactor::new();
    /// # let server = AccumulatingProtocol::new();
    /// # net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// # let deaf = net.connect_stream("10.0.0.1:80");
    /// # deaf.pause_reading();
    /// # net.settle();
    /// # let listeners = [server.transport().unwrap()];
    /// # for _ in 0..20 { broadcast(&listeners, &[0; 100_000]); net.settle(); }
    /// # assert!(deaf.is_reset());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Returns the number of bytes that were still queued when the connection ended, and are lost. It is 0 while the
    /// connection exists.
    ///
    /// The system may have taken more bytes than the peer has received, so the peer may lack more than these.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.pause_reading();
    /// net.settle();
    /// let transport = server.transport().expect("it is connected");
    /// transport.write(&[0; 1_000_000]);
    /// net.settle();
    /// client.abort();
    /// net.settle();
    /// assert!(transport.unsent() > 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn unsent(&self) -> usize {
        self.0.unsent()
    }

    /// Returns whether the connection has not ended.
    pub fn is_connected(&self) -> bool {
        !self.0.state().is_lost()
    }

    /// Returns whether `lose_connection` was called and the connection has not ended yet.
    pub fn is_disconnecting(&self) -> bool {
        self.0.state().is_losing()
    }

    /// Returns a Deferred that fires with the reason of the end after `connection_lost`, in a turn after the one in
    /// which the connection ended.
    ///
    /// The Deferred is for code outside the protocol, such as a task, or a program that stops when its only connection
    /// ends. Cancelling the Deferred has no effect on the connection.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// let lost = server.transport().unwrap().when_lost();
    /// client.close();
    /// net.settle();
    /// assert!(lost.try_result().unwrap().unwrap().is_done()); // in order, not by a reset
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[track_caller]
    pub fn when_lost(&self) -> Deferred<Error> {
        let (deferred, resolver) = Deferred::new();
        self.0.resolve_when_lost(resolver);
        deferred
    }

    /// Returns the reason why the connection is lost, or `None` before.
    ///
    /// A connection is lost as soon as a write has failed. `connection_lost` follows when the protocol has got
    /// everything that was received. Until then the transport drops what is written.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert!(transport.lost().is_none());
    /// transport.lose_connection();
    /// transport.net().settle();
    /// assert!(transport.lost().is_some_and(|reason| reason.is_done()));
    /// ```
    pub fn lost(&self) -> Option<Error> {
        self.0.reason_of_loss()
    }

    /// Returns whether reading is paused: `pause_producing` was called, and `resume_producing` was not called since.
    pub fn is_paused(&self) -> bool {
        self.0.is_producing() && !self.0.state().wants_reading()
    }

    /// Returns whether the connection delivers what the peer sends: it is not paused, the peer has not ended its side,
    /// and this side has not closed. The result does not depend on holds, pacing or the progress of a layer.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert!(transport.is_reading());
    /// transport.pause_producing();
    /// assert!(!transport.is_reading());
    /// transport.resume_producing();
    /// transport.lose_connection();
    /// assert!(!transport.is_reading());
    /// ```
    pub fn is_reading(&self) -> bool {
        self.0.state().wants_reading()
    }

    /// Returns the peer's address: getPeer. The address stays known after the end of the connection.
    ///
    /// Behind a load balancer that sends a PROXY header (`haproxy:`), this is the address of the balancer's client.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::between("10.0.0.1:80", "192.168.1.7:5000");
    /// assert_eq!(transport.peer().to_string(), "192.168.1.7:5000");
    /// assert_eq!(transport.peer().inet().map(|peer| peer.port()), Some(5000));
    /// ```
    pub fn peer(&self) -> &Address {
        self.0.peer()
    }

    /// Returns the local address: getHost.
    ///
    /// Behind a load balancer that sends a PROXY header, this is the address to which the balancer's client connected.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::between("10.0.0.1:80", "192.168.1.7:5000");
    /// assert_eq!(transport.host()?.to_string(), "10.0.0.1:80");
    /// transport.abort_connection();
    /// transport.net().settle();
    /// assert!(matches!(transport.host(), Err(Error::Closed)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection.
    pub fn host(&self) -> Result<Address> {
        if let (Some(proxied), true) = (self.0.proxied.get(), self.is_connected()) {
            return Ok(proxied[1].clone());
        }
        self.0.ask("cannot get the address of a connection", |sockets, key| sockets.local_address(key))
    }

    /// Returns the socket itself, for operations that this type does not offer: ISystemHandle.
    ///
    /// The reactor still owns the socket. Returns `None` after the end of the connection and on a simulated network.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert!(transport.handle().is_none()); // a simulated network has no sockets
    /// ```
    pub fn handle(&self) -> Option<RawSocket> {
        self.0.ask("", |sockets, key| Ok(sockets.raw_socket(key))).ok().flatten()
    }

    /// Replaces the protocol, and drops the old one. May be called from a callback or from outside.
    ///
    /// The new protocol receives all bytes from the next delivery on. Its `connection_made` is not called.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Understands `upgrade`, and nothing else.
    /// struct Handshake(AccumulatingProtocol);
    ///
    /// impl Protocol for Handshake {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         let Some(rest) = data.strip_prefix(b"upgrade\n") else { return transport.abort_connection() };
    ///         transport.switch_protocol(Box::new(self.0.clone()));
    ///         transport.unread(rest); // the new protocol gets these bytes
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let new = AccumulatingProtocol::new();
    /// let factory = new.clone();
    /// net.listen_tcp("10.0.0.1:80", move || Handshake(factory.clone()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"upgrade\nhello");
    /// net.settle();
    /// assert_eq!(new.data(), b"hello");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn switch_protocol(&self, protocol: Box<dyn Protocol>) {
        self.0.switch_protocol(protocol);
    }

    /// Switches to `protocol`, and calls its `connection_made` before it gets data.
    ///
    /// The switch happens when the running callback of the old protocol returns. If no callback runs, it happens before
    /// the loop waits. A layer that is done is removed first, so `protocol` may start a layer itself. May be called
    /// from any callback. After the end of the connection, `protocol` is dropped.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Waits for a password of one byte.
    /// struct Doorkeeper(AccumulatingProtocol);
    ///
    /// impl Protocol for Doorkeeper {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         let Some(rest) = data.strip_prefix(b"!") else { return transport.abort_connection() };
    ///         transport.hand_over(Box::new(self.0.clone()));
    ///         transport.unread(rest);
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let guest = AccumulatingProtocol::new();
    /// let factory = guest.clone();
    /// net.listen_tcp("10.0.0.1:80", move || Doorkeeper(factory.clone()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(guest.made(), 0);
    /// client.write(b"!hello");
    /// net.settle();
    /// assert_eq!((guest.made(), guest.data()), (1, b"hello".to_vec()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn hand_over(&self, protocol: Box<dyn Protocol>) {
        self.0.hand_over(protocol);
    }

    /// Returns the reactor of this connection.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct SlowGoodbye;
    ///
    /// impl Protocol for SlowGoodbye {
    ///     fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
    ///         let later = transport.clone();
    ///         transport.reactor().call_later(Duration::from_secs(1), move |_| later.lose_connection());
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || SlowGoodbye)?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"?");
    /// net.settle();
    /// assert!(!client.is_eof());
    /// net.advance(Duration::from_secs(1));
    /// assert!(client.is_eof());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When that reactor has been dropped. This cannot happen inside a callback. See
    /// [`try_reactor`](Transport::try_reactor).
    pub fn reactor(&self) -> Reactor {
        self.try_reactor().expect("the reactor of this transport has been dropped")
    }

    /// Returns the reactor of this connection, unless it has been dropped.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let kept = {
    ///     let transport = StringTransport::new();
    ///     assert!(transport.try_reactor().is_some());
    ///     transport.clone()
    /// };
    /// assert!(kept.try_reactor().is_none());
    /// ```
    pub fn try_reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade().map(Reactor)
    }

    /// Returns a handle that does not keep the connection's memory alive.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// let weak = transport.downgrade(); // for a table of connections
    /// assert!(weak.upgrade().is_some_and(|same| same == *transport));
    /// drop(transport);
    /// assert!(weak.upgrade().is_none());
    /// ```
    pub fn downgrade(&self) -> WeakTransport {
        WeakTransport(Rc::downgrade(&self.0))
    }

    /// Sets the addresses that [`peer`](Transport::peer) and [`host`](Transport::host) return, for a connection that a
    /// load balancer forwards. The endpoint `haproxy:` calls this with the addresses of the PROXY header.
    ///
    /// Only the first call has an effect, because references to the addresses may be in use.
    ///
    /// ```
    /// use ropewalk::Address;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// let [client, server] = ["192.0.2.7:5000", "192.0.2.80:443"].map(|text| Address::Inet(text.parse().unwrap()));
    /// transport.set_forwarded(client, server);
    /// assert_eq!(transport.peer().to_string(), "192.0.2.7:5000");
    /// assert_eq!(transport.host()?.to_string(), "192.0.2.80:443");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_forwarded(&self, peer: Address, host: Address) {
        let _ = self.0.proxied.set(Box::new([peer, host]));
    }
}

impl PartialEq for Transport {
    /// Returns whether both are handles of the same connection.
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
///
/// May be used from any callback on the reactor's thread.
///
/// ```
/// use ropewalk::testing::StringTransport;
/// use ropewalk::transports::WeakTransport;
///
/// let transport = StringTransport::new();
/// let guests: Vec<WeakTransport> = vec![transport.downgrade()];
/// for guest in guests.iter().filter_map(WeakTransport::upgrade) {
///     guest.write(b"we close at ten\n");
/// }
/// assert_eq!(transport.value(), b"we close at ten\n");
/// assert!(guests.contains(&transport.downgrade())); // also after the connection has been dropped
/// ```
#[derive(Clone)]
pub struct WeakTransport(Weak<Stream>);

impl WeakTransport {
    /// Returns the transport, or `None` if no other handle keeps it alive.
    pub fn upgrade(&self) -> Option<Transport> {
        self.0.upgrade().map(Transport)
    }
}

impl PartialEq for WeakTransport {
    /// Returns whether both are handles of the same connection.
    fn eq(&self, other: &WeakTransport) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for WeakTransport {}

impl std::fmt::Debug for WeakTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.upgrade() {
            Some(transport) => f.debug_tuple("WeakTransport").field(&transport).finish(),
            None => f.write_str("WeakTransport(dropped)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::testing::{MemoryReactor, connected};

    #[test]
    fn when_lost_fires_after_connection_lost() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let transport = server.transport().unwrap();
        let told = server.clone();
        let lost = transport.when_lost().add_callback(move |reason| (told.lost().is_some(), reason));
        net.settle();
        assert!(!lost.is_done());
        client.abort();
        net.settle();
        let (was_told, reason) = lost.try_result().unwrap().unwrap();
        assert!(was_told && matches!(reason, Error::ConnectionLost(Some(_))), "{reason}");
    }

    #[test]
    fn when_lost_of_an_ended_connection_fires_in_a_later_turn() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let transport = server.transport().unwrap();
        client.close();
        net.settle();
        let lost = transport.when_lost();
        assert!(!lost.is_done());
        net.settle();
        assert!(lost.try_result().unwrap().unwrap().is_done());
    }

    #[test]
    fn when_lost_of_a_reset_connection_keeps_the_reason() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let transport = server.transport().unwrap();
        client.abort();
        net.settle();
        let lost = transport.when_lost();
        net.settle();
        assert!(matches!(lost.try_result().unwrap().unwrap(), Error::ConnectionLost(Some(_))));
    }

    #[test]
    fn when_lost_fails_when_the_reactor_is_dropped() {
        // When the reactor is dropped, the Deferred's callbacks are dropped, so a callback that holds the transport
        // causes no leak.
        let net = MemoryReactor::new();
        let (server, _client) = connected(&net);
        let transport = server.transport().unwrap();
        let itself = transport.clone();
        let lost = transport.when_lost().add_callback(move |_| drop(itself));
        let (weak, held) = (transport.downgrade(), server.clone());
        drop((net, transport, server));
        assert!(lost.try_result().unwrap().is_err());
        drop(held);
        assert!(weak.upgrade().is_none());
    }
}
