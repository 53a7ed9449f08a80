//! The one door: everything that the operating system does for the loop.
//!
//! A real kernel, a foreign loop and a simulated network stand at the same door, so what lies above it is the same code
//! in production and in tests. The door sits at transport operations, not at readiness (which would make a completion
//! provider emulate epoll).
//!
//! Order of calls: `listen`, `connect`, `adopt` or `watch` give a [`Key`]; `wait` reports events under keys; the owner of
//! a key answers with `accept`, `finish_connect`, `receive` or `send`; `close` or `abort` end it. A key that was ended
//! is stale: every call with it returns `NotFound` or does nothing.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bitflags::bitflags;
use bytes::Bytes;
use ropewalk_proto::{Address, DEFAULT_BACKLOG, Key, Moment, Outbox};

use crate::io_handle::{OwnedIo, RawIo};
use crate::unix_lock::UnixLock;
use crate::waker::Waker;

/// Tells a provider's monotonic time, from any thread.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// A source of events, and the operations on what it reports.
///
/// All methods are called on the reactor's thread, except that a caller of [`wait`](EventProvider::wait) may move the
/// provider to another thread for the time of that call. No method calls user code, and none but `wait` blocks.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_proto::Outbox;
/// use ropewalk_sys::{ConnectSpec, EventProvider, ListenSpec, Received, Sent, providers};
/// # use ropewalk_sys::Events;
/// # use ropewalk_proto::Key;
///
/// # fn until(provider: &mut dyn EventProvider, key: Key) -> std::io::Result<()> {
/// #     let mut events = Events::new();
/// #     while !events.iter().any(|event| event.key == key) { provider.wait(Some(Duration::from_secs(9)), &mut events)?; }
/// #     Ok(())
/// # }
/// # #[cfg(unix)] {
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let anywhere = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
/// let (port, address) = provider.listen(&ListenSpec::new(anywhere.into()))?;
/// provider.set_reading(port, true)?;
/// let client = provider.connect(&ConnectSpec { address, bind: None })?;
/// until(&mut *provider, client)?; // `wait` until there is an event with this key
/// provider.finish_connect(client)?;
/// until(&mut *provider, port)?;
/// let (server, _peer) = provider.accept(port)?.expect("somebody has connected");
///
/// let mut outbox = Outbox::new();
/// outbox.write(b"hello");
/// assert_eq!(provider.send(client, &mut outbox)?, Sent::All);
/// provider.set_reading(server, true)?;
/// until(&mut *provider, server)?;
/// let mut scratch = [0; 64];
/// match provider.receive(server, &mut scratch)? {
///     Received::Filled(count) | Received::Drained(count) => assert_eq!(&scratch[..count], b"hello"),
///     Received::Lent(bytes) => assert_eq!(bytes, "hello"),
///     Received::Empty | Received::Eof => unreachable!("there was an event"),
/// }
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait EventProvider: Send {
    /// The name by which a user chooses it, such as `epoll`.
    fn name(&self) -> &'static str;

    /// Which interfaces it offers.
    fn capabilities(&self) -> Capabilities;

    /// The monotonic time; virtual when simulated.
    fn now(&self) -> Moment;

    /// The clock that [`now`](EventProvider::now) reads, for whoever must tell the time while the provider waits in another
    /// thread.
    fn clock(&self) -> Clock;

    /// The wall clock, for those who want to know what time it is; virtual when simulated.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Binds and listens. The key reports [`Ready::READ`] when `accept` has something, once `set_reading` is on.
    ///
    /// # Errors
    /// What socket(2), setsockopt(2), bind(2) and listen(2) answer.
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)>;

    /// Begins to connect. The key reports [`Ready::WRITE`] when the outcome is known; then call
    /// [`finish_connect`](EventProvider::finish_connect).
    ///
    /// # Errors
    /// What socket(2), bind(2) and connect(2) answer at once; a failure to bind is of kind `AddrInUse`,
    /// `AddrNotAvailable` or `PermissionDenied`.
    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key>;

    /// The outcome of a connection attempt; `WouldBlock` while it is unknown.
    ///
    /// # Errors
    /// Why the connection failed.
    fn finish_connect(&mut self, key: Key) -> io::Result<()>;

    /// Takes over a socket that somebody else opened, and makes it non-blocking.
    ///
    /// # Errors
    /// When the descriptor is not a socket of that kind.
    fn adopt(&mut self, io: OwnedIo, kind: Kind) -> io::Result<Key>;

    /// Watches a descriptor that somebody else owns and reads; its events carry only readiness.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    fn watch(&mut self, io: RawIo, interest: Interest) -> io::Result<Key>;

    /// Changes what a watched descriptor is watched for.
    ///
    /// # Errors
    /// When the operating system refuses, or the key is stale.
    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()>;

    /// Ends a key: closes what it owns, or stops watching. Bytes accepted by the operating system are still delivered.
    fn close(&mut self, key: Key);

    /// Ends a connection with a reset: bytes under way are dropped.
    fn abort(&mut self, key: Key);

    /// Switches reports of [`Ready::READ`]; they stay on until switched off.
    ///
    /// Whoever is told that a connection is readable must call `receive`, or switch the reports off; what `receive` then
    /// leaves is reported again.
    ///
    /// # Errors
    /// When the operating system refuses, or the key is stale.
    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()>;

    /// Takes bytes that have arrived: into `scratch`, or lent by the provider.
    ///
    /// # Errors
    /// Why the connection broke.
    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received>;

    /// Takes the next connection off a listening key's queue; `None` when it is empty.
    ///
    /// The new key reports nothing until `set_reading`.
    ///
    /// # Errors
    /// What accept(2) answers; the listening key stays as it was.
    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>>;

    /// Hands over what the outbox holds, removing from it what was taken.
    ///
    /// After [`Sent::Some`] the key reports [`Ready::WRITE`] once when more can go. What was taken may leave with the next
    /// `wait`, or with the end of the key, and not before.
    ///
    /// # Errors
    /// Why the connection broke.
    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent>;

    /// Hands over as much of `bytes` as goes at once, and returns how much that was; zero is no error.
    ///
    /// It does not ask for [`Ready::WRITE`]: the rest belongs in an outbox, and `send` will.
    ///
    /// # Errors
    /// Why the connection broke.
    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize>;

    /// Ends the sending direction, after everything sent before.
    ///
    /// # Errors
    /// What shutdown(2) answers.
    fn shutdown_write(&mut self, key: Key) -> io::Result<()>;

    /// The address of this end.
    ///
    /// # Errors
    /// What getsockname(2) answers.
    fn local_address(&self, key: Key) -> io::Result<Address>;

    /// The address of the other end.
    ///
    /// # Errors
    /// What getpeername(2) answers.
    fn peer_address(&self, key: Key) -> io::Result<Address>;

    /// Whether a socket option is on.
    ///
    /// # Errors
    /// What getsockopt(2) answers.
    fn option(&self, key: Key, option: SocketOption) -> io::Result<bool>;

    /// Switches a socket option.
    ///
    /// # Errors
    /// What setsockopt(2) answers.
    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()>;

    /// The descriptor behind a key, where there is one: ISystemHandle.
    fn raw_io(&self, key: Key) -> Option<RawIo>;

    /// Blocks until something happens or `timeout` is over, and fills `events`. `None` waits without end.
    ///
    /// An interrupted wait returns with no events. A timeout is never cut short by rounding, and one too long for the
    /// operating system is shortened.
    ///
    /// # Errors
    /// When waiting is not possible at all; the loop cannot go on.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()>;

    /// Takes the lock beside the path of a UNIX socket, which is given up when it is dropped. A provider without a file
    /// system has locks of its own.
    ///
    /// # Errors
    /// As [`UnixLock::acquire`].
    fn lock_unix(&mut self, path: &Path) -> io::Result<Box<dyn Any>> {
        Ok(Box::new(UnixLock::acquire(path)?))
    }

    /// Whether somebody who lives holds that lock.
    fn is_unix_locked(&mut self, path: &Path) -> bool {
        UnixLock::is_locked(path)
    }

    /// In the child after fork(2): makes anew what parent and child must not share, such as an epoll descriptor. Keys and
    /// wakers stay valid.
    ///
    /// # Errors
    /// What the system calls answer that made it.
    fn reopen_after_fork(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What wakes a `wait`, from any thread.
    fn waker(&self) -> Waker;

    /// What a host loop can watch: readable when `wait` would report something.
    ///
    /// A provider that collects requests for its next wait stops collecting when this is called.
    fn foreign(&mut self) -> Option<RawIo>;
}

bitflags! {
    /// The interfaces that a provider offers.
    ///
    /// ```
    /// use ropewalk_sys::{Capabilities, providers};
    ///
    /// for provider in providers().iter().filter_map(|provider| (provider.open)().ok()) {
    ///     assert!(provider.capabilities().contains(Capabilities::TCP), "{}", provider.name());
    /// }
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// TCP streams over IPv4 and IPv6: IReactorTCP.
        const TCP = 1 << 0;
        /// UNIX streams: IReactorUNIX.
        const UNIX = 1 << 1;
        /// Descriptors of the user: IReactorFDSet.
        const FD_SET = 1 << 2;
        /// Sockets opened by others: IReactorSocket.
        const SOCKET = 1 << 3;
        /// SIGINT and SIGTERM stop the loop.
        const SIGNALS = 1 << 4;
    }
}

bitflags! {
    /// What a watched descriptor is watched for; the bits are those of poll(2).
    ///
    /// ```
    /// use ropewalk_sys::{Interest, Ready};
    ///
    /// assert_eq!(Ready::from(Interest::READ | Interest::WRITE), Ready::READ | Ready::WRITE);
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interest: u8 {
        /// Reading would not block.
        const READ = 1 << 0;
        /// Writing would not block.
        const WRITE = 1 << 2;
    }
}

bitflags! {
    /// What became possible; the bits are those of poll(2).
    ///
    /// ```
    /// use ropewalk_sys::Ready;
    ///
    /// /// Whether it is time to look at the source.
    /// fn is_worth_a_read(ready: Ready) -> bool {
    ///     ready.intersects(Ready::READ | Ready::HANGUP | Ready::ERROR)
    /// }
    ///
    /// assert!(is_worth_a_read(Ready::READ | Ready::WRITE) && !is_worth_a_read(Ready::WRITE));
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ready: u8 {
        /// Bytes, a connection or the end of the stream can be taken.
        const READ = 1 << 0;
        /// Urgent data stands in the stream, where a read stops short. Reported to no owner.
        const URGENT = 1 << 1;
        /// More can be sent, or the outcome of a connection attempt is known.
        const WRITE = 1 << 2;
        /// The source is in an error state, which the next operation on it returns.
        const ERROR = 1 << 3;
        /// The other end hung up, or will at least send no more. Unread bytes may still be there, and come first.
        const HANGUP = 1 << 4;
        /// The descriptor is not open (any more): ConnectionFdescWentAway.
        const GONE = 1 << 5;
    }
}

impl From<Interest> for Ready {
    /// What a source reports that is watched for this.
    fn from(interest: Interest) -> Ready {
        Ready::from_bits_truncate(interest.bits())
    }
}

/// One event: an owned value, so that the provider is not borrowed while callbacks run.
///
/// ```
/// use ropewalk_proto::Key;
/// use ropewalk_sys::{Event, Events, Ready};
///
/// let events: Events = vec![Event { key: Key::new(3, 1), ready: Ready::READ }];
/// assert!(events.iter().any(|event| event.key.index() == 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose event it is; stale if the source was ended after the event was reported.
    pub key: Key,
    /// What became possible.
    pub ready: Ready,
}

/// What one `wait` reported.
pub type Events = Vec<Event>;

/// What `receive` found.
#[derive(Debug)]
pub enum Received {
    /// This many bytes stand at the beginning of the scratch buffer, and more may be waiting.
    Filled(usize),
    /// This many bytes stand at the beginning of the scratch buffer, and there was no more.
    Drained(usize),
    /// The provider lends bytes that it received earlier, and more may be waiting.
    Lent(Bytes),
    /// Nothing has arrived.
    Empty,
    /// The other end will send no more.
    Eof,
}

/// What `send` achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything: the outbox is empty.
    All,
    /// The other end is slow; [`Ready::WRITE`] will say when to go on.
    Some,
    /// The provider took bytes and is still sending them; [`Ready::WRITE`] will say when that is done.
    InFlight,
}

/// What an adopted socket is.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{Kind, SocketOption, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let port = provider.adopt(socket.into(), Kind::StreamPort)?;
/// assert!(provider.local_address(port)?.inet().is_some());
/// provider.close(port);
/// assert!(provider.option(port, SocketOption::KeepAlive).is_err()); // the key is stale
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A listening stream socket.
    StreamPort,
    /// A connected stream socket.
    StreamConnection,
}

/// An on/off option of a stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// TCP_NODELAY, tcp(7).
    NoDelay,
    /// SO_KEEPALIVE, socket(7).
    KeepAlive,
}

/// Where and how to listen.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_sys::ListenSpec;
///
/// let everywhere: SocketAddr = "[::]:80".parse()?;
/// let spec = ListenSpec { reuse_port: true, ..ListenSpec::new(everywhere.into()) };
/// assert_eq!((spec.backlog, spec.dual_stack), (ropewalk_proto::DEFAULT_BACKLOG, true));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// The address to bind; port 0 lets the system choose.
    pub address: Address,
    /// How many connections may wait to be accepted.
    pub backlog: u32,
    /// SO_REUSEPORT: several sockets share one address.
    pub reuse_port: bool,
    /// An IPv6 wildcard address takes IPv4 connections too.
    pub dual_stack: bool,
    /// The permission bits of a UNIX socket's file, set after bind(2).
    pub mode: Option<u32>,
}

impl ListenSpec {
    /// Listens on `address` with a backlog of [`DEFAULT_BACKLOG`], dual stack and no sharing.
    pub fn new(address: Address) -> ListenSpec {
        ListenSpec { address, backlog: DEFAULT_BACKLOG, reuse_port: false, dual_stack: true, mode: None }
    }
}

/// Whither and whence to connect.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_sys::ConnectSpec;
///
/// let [web, here]: [SocketAddr; 2] = ["192.0.2.1:80".parse()?, "192.0.2.7:0".parse()?];
/// let spec = ConnectSpec { address: web.into(), bind: Some(here.into()) };
/// assert_eq!(spec.address.to_string(), "192.0.2.1:80");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectSpec {
    /// The other end.
    pub address: Address,
    /// The address of this end, when it matters.
    pub bind: Option<Address>,
}
