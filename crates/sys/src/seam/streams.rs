//! Streams: ports that listen, attempts to connect, and connections.

use std::fmt;
use std::io;

use bytes::Bytes;
use ropewalk_proto::{Address, DEFAULT_BACKLOG, Key, Outbox};

/// Stream sockets: TCP, and UNIX where the provider has a [`Filesystem`](super::Filesystem).
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
/// #     while !events.iter().any(|event| event.key == key) {
/// #         provider.wait(Some(Duration::from_secs(9)), &mut events)?;
/// #     }
/// #     Ok(())
/// # }
/// # #[cfg(unix)] {
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let anywhere = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
/// let streams = provider.streams().expect("every provider of this crate has streams");
/// let (port, address) = streams.listen(&ListenSpec::new(anywhere.into()))?;
/// streams.set_reading(port, true)?;
/// let client = streams.connect(&ConnectSpec { address, bind: None })?;
/// until(&mut *provider, client)?; // `wait` until there is an event with this key
/// provider.streams().unwrap().finish_connect(client)?;
/// until(&mut *provider, port)?;
///
/// let streams = provider.streams().unwrap();
/// let (server, _peer) = streams.accept(port)?.expect("a connection waits");
/// let mut outbox = Outbox::new();
/// outbox.write(b"hello");
/// assert_eq!(streams.send(client, &mut outbox)?, Sent::All);
/// streams.set_reading(server, true)?;
/// until(&mut *provider, server)?;
/// let mut scratch = [0; 64];
/// match provider.streams().unwrap().receive(server, &mut scratch)? {
///     Received::Filled(count) | Received::Drained(count) => assert_eq!(&scratch[..count], b"hello"),
///     Received::Lent(bytes) => assert_eq!(bytes, "hello"),
///     Received::Empty | Received::Eof => unreachable!("there was an event"),
/// }
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Streams {
    /// Binds and listens. The key reports [`Ready::READ`](super::Ready) when `accept` has a connection, once
    /// `set_reading` is on.
    ///
    /// # Errors
    /// The errors of socket(2), setsockopt(2), bind(2) and listen(2), and those of [`ListenSpec::check`].
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)>;

    /// Begins to connect. The key reports [`Ready::WRITE`](super::Ready) when the outcome is known. Then call
    /// [`finish_connect`](Streams::finish_connect).
    ///
    /// # Errors
    /// The errors of socket(2), bind(2) and connect(2). An error of bind(2) is inside a [`BindError`].
    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key>;

    /// Returns the outcome of a connection attempt.
    ///
    /// # Errors
    /// The reason why the connection failed, or `WouldBlock` while the outcome is unknown.
    fn finish_connect(&mut self, key: Key) -> io::Result<()>;

    /// Takes the next connection off a listening key's queue. Returns `None` when the queue is empty.
    ///
    /// The new key reports nothing until `set_reading`. The owner need not accept until `None`: connections that it
    /// leaves in the queue are reported again by the next `wait`.
    ///
    /// # Errors
    /// The errors of accept(2). The listening key is unchanged.
    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>>;

    /// Switches reports of [`Ready::READ`](super::Ready) on or off.
    ///
    /// After such a report the owner of the key calls `receive`, or switches the reports off. Bytes that `receive`
    /// leaves are reported again.
    ///
    /// A connection whose reports are off reports its loss within a second, once for each call with `false`:
    /// [`Ready::ERROR`](super::Ready) after a reset, and [`Ready::HANGUP`](super::Ready) when nothing can be sent or
    /// received any more. Bytes that arrived before may still be received. The end of the stream is not a loss.
    ///
    /// # Errors
    /// `NotFound` for a stale key, or an error of the operating system.
    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()>;

    /// Takes bytes that have arrived. They are copied into `scratch`, or lent by the provider.
    ///
    /// # Errors
    /// The reason why the connection broke.
    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received>;

    /// Sends bytes of the outbox, and removes the bytes that were taken.
    ///
    /// After [`Sent::Some`] the key reports [`Ready::WRITE`](super::Ready) once when more can be sent. Bytes that were
    /// taken may leave with the next `wait` or with the end of the key, but not later.
    ///
    /// # Errors
    /// The reason why the connection broke.
    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent>;

    /// Sends as much of `bytes` as the system takes at once, and returns that length, which may be zero.
    ///
    /// The key does not report [`Ready::WRITE`](super::Ready) afterwards. To get the report, put the rest into an
    /// outbox and call `send`. With no bytes the call only returns the error of a broken connection, if it is known.
    ///
    /// # Errors
    /// The reason why the connection broke.
    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize>;

    /// Closes the sending direction once all bytes passed to `send` before have been sent.
    ///
    /// # Errors
    /// The errors of shutdown(2).
    fn shutdown_write(&mut self, key: Key) -> io::Result<()>;

    /// Closes a port, a connection or a connection attempt, and retires its key. Bytes that `send` took are still
    /// delivered. The address of a port can be bound again when this method returns.
    fn close(&mut self, key: Key);

    /// Aborts a connection with a reset, and drops bytes in flight.
    fn abort(&mut self, key: Key);
}

/// The error of [`Streams::connect`] when the local address cannot be bound. It is inside an [`io::Error`] of the same
/// kind.
///
/// ```
/// use std::io;
/// use ropewalk_sys::BindError;
///
/// let in_use = io::Error::from(io::ErrorKind::AddrInUse);
/// let error: io::Error = BindError(in_use).into();
/// assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
/// assert!(error.downcast::<BindError>().is_ok());
/// ```
#[derive(Debug)]
pub struct BindError(pub io::Error);

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind the local address: {}", self.0)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> io::Error {
        io::Error::new(error.0.kind(), error)
    }
}

/// The bytes that `receive` found.
#[derive(Debug)]
pub enum Received {
    /// The scratch buffer begins with this number of bytes, and more may be waiting.
    Filled(usize),
    /// The scratch buffer begins with this number of bytes, and no more bytes were waiting.
    Drained(usize),
    /// The provider lends bytes that it received earlier, and more may be waiting.
    Lent(Bytes),
    /// Nothing has arrived.
    Empty,
    /// The peer has closed its sending direction.
    Eof,
}

/// The progress that `send` made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All bytes were taken: the outbox is empty.
    All,
    /// The send buffer is full. [`Ready::WRITE`](super::Ready) reports when more can be sent.
    Some,
    /// The provider is still sending bytes that it took. [`Ready::WRITE`](super::Ready) reports when that is done.
    InFlight,
}

/// The address to listen on, with options.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_proto::DEFAULT_BACKLOG;
/// use ropewalk_sys::ListenSpec;
///
/// let everywhere: SocketAddr = "[::]:80".parse()?;
/// let spec = ListenSpec { reuse_port: true, ..ListenSpec::new(everywhere.into()) };
/// assert_eq!((spec.backlog, spec.dual_stack), (DEFAULT_BACKLOG, true));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// The address to bind. With port 0 the system chooses a port.
    pub address: Address,
    /// The number of connections that may wait to be accepted.
    pub backlog: u32,
    /// Whether several sockets share one address: SO_REUSEPORT.
    pub reuse_port: bool,
    /// Whether an IPv6 wildcard address also takes IPv4 connections.
    pub dual_stack: bool,
    /// The permission bits of a UNIX socket's file, at most 0o777. The file has them from the start. With `None` the
    /// process's umask(2) decides.
    pub mode: Option<u32>,
}

impl ListenSpec {
    /// Listens on `address` with a backlog of [`DEFAULT_BACKLOG`], dual stack and no sharing.
    pub fn new(address: Address) -> ListenSpec {
        ListenSpec { address, backlog: DEFAULT_BACKLOG, reuse_port: false, dual_stack: true, mode: None }
    }

    /// Checks the mode. A provider calls this in [`Streams::listen`].
    ///
    /// ```
    /// use std::path::Path;
    /// use ropewalk_proto::Address;
    /// use ropewalk_sys::ListenSpec;
    ///
    /// let address = Address::Unix(Path::new("/run/web.sock").into());
    /// let sticky = ListenSpec { mode: Some(0o1600), ..ListenSpec::new(address) };
    /// assert!(sticky.check().unwrap_err().to_string().contains("from 0 to 777"));
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the mode has other bits than the nine permission bits. A socket's file cannot have them.
    pub fn check(&self) -> io::Result<()> {
        match self.mode {
            Some(mode @ 0o1000..) => {
                let message = format!("invalid mode {mode:o}: expected permission bits from 0 to 777 in octal");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            _ => Ok(()),
        }
    }
}

/// The remote and, optionally, local address of a connection attempt.
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
    /// The peer's address.
    pub address: Address,
    /// The local address to bind before connecting. `None` lets the system choose.
    pub bind: Option<Address>,
}
