//! Datagrams: messages that each arrive whole, late, twice or never. UDP and UNIX datagram sockets.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::Range;

use ropewalk_proto::{Address, Key};

use crate::io_handle::OwnedSocket;

/// Datagram sockets: UDP, and UNIX where the provider has a [`Filesystem`](super::Filesystem).
///
/// The other calls on a key are those of [`Streams`](super::Streams): `set_reading` switches reports of
/// [`Ready::READ`](super::Ready) on, and `close` retires the key. Reports are level-triggered: datagrams that
/// `receive_datagrams` leaves are reported again. An error of the socket is reported as READ while reports are on.
///
/// An IPv4 address never appears in its IPv4-mapped form, in either direction.
///
/// ```
/// # #[cfg(unix)] {
/// use std::time::Duration;
/// use ropewalk_sys::{Arrival, DatagramSpec, Outgoing, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let anywhere = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
/// let datagrams = provider.datagrams().expect("every provider of this crate has datagrams");
/// let (port, address) = datagrams.open_datagrams(&DatagramSpec::new(anywhere.into()))?;
/// let (sent, outcome) = datagrams.send_datagrams(port, &[Outgoing::to(b"hello", &address)]);
/// assert_eq!((sent, outcome.is_ok()), (1, true));
///
/// provider.streams().unwrap().set_reading(port, true)?;
/// provider.wait(Some(Duration::from_secs(9)), &mut Vec::new())?;
/// let (mut scratch, mut arrivals) = (vec![0; 65536], Vec::new());
/// provider.datagrams().unwrap().receive_datagrams(port, &mut scratch, 16, &mut arrivals)?;
/// let Arrival { bytes, sender, .. } = &arrivals[0];
/// assert_eq!((&scratch[bytes.clone()], sender), (&b"hello"[..], &address));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A connected socket, and options:
///
/// ```
/// # #[cfg(unix)] {
/// use std::net::UdpSocket;
/// use ropewalk_proto::Address;
/// use ropewalk_sys::{DatagramOption, DatagramSpec, Outgoing, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let datagrams = provider.datagrams().expect("every provider of this crate has datagrams");
/// let (socket, peer) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let spec = DatagramSpec::new(Address::Unnamed); // the socket is bound already
/// let (key, _address, _no_peer) = datagrams.adopt_datagrams(socket.into(), &spec)?;
/// datagrams.connect_datagrams(key, &peer.local_addr()?.into())?;
/// assert_eq!(datagrams.send_datagrams(key, &[Outgoing::to_peer(b"hello")]).0, 1);
///
/// datagrams.set_datagram_option(key, DatagramOption::MulticastTtl, 2)?;
/// assert_eq!(datagrams.datagram_option(key, DatagramOption::MulticastTtl)?, 2);
/// assert!(datagrams.segments_max(key)? >= 1);
/// assert_eq!(datagrams.dropped_datagrams(key).unwrap_or(0), 0); // not known on every system
/// let private = "10.0.0.1".parse().unwrap();
/// assert!(datagrams.join_group(key, private, 0).is_err() && datagrams.leave_group(key, private, 0).is_err()); // no group
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Datagrams {
    /// Opens a socket. Returns its key and its local address.
    ///
    /// Only datagrams for groups that this socket has joined arrive on it, where the system can separate them: Linux.
    ///
    /// # Errors
    /// The errors of socket(2), setsockopt(2), bind(2) and connect(2), and those of [`DatagramSpec::check`].
    /// `Unsupported` for details on a system without them.
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)>;

    /// Takes over a socket that another program opened, and makes it non-blocking. Of `spec`, only `most`, `details` and
    /// the buffer sizes apply. Returns the key, the local address, and the address that the socket is connected to.
    ///
    /// # Errors
    /// `InvalidInput` when the socket is not a datagram socket. `Unsupported` for its address family.
    fn adopt_datagrams(
        &mut self,
        socket: OwnedSocket,
        spec: &DatagramSpec,
    ) -> io::Result<(Key, Address, Option<Address>)>;

    /// Connects the socket: it sends to `peer` by default, and receives only from `peer`. Returns the local address.
    ///
    /// A connected socket reports that its peer is not there: the next receive or send returns `ConnectionRefused`.
    ///
    /// # Errors
    /// The errors of connect(2). A [`FamilyError`].
    fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address>;

    /// Receives at most `most` datagrams into `scratch`, and appends them to `arrivals`. Each one takes
    /// [`DatagramSpec::most`] bytes of `scratch`. Returns whether more may be waiting.
    ///
    /// # Errors
    /// An error of the socket, such as `ConnectionRefused`. It is reported once, and the socket works afterwards.
    fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool>;

    /// Sends the datagrams of `batch` in order. Returns the number that was sent, and the reason why the next one was
    /// not.
    ///
    /// After `WouldBlock` the key reports [`Ready::WRITE`](super::Ready) once when there is room. A UNIX socket that is
    /// not connected is the exception: the system cannot report room for it, so nothing is reported.
    ///
    /// # Errors
    /// The errors of sendmsg(2), such as EMSGSIZE. A [`FamilyError`]. `ConnectionRefused` on a connected socket: the
    /// datagram has not been sent, and may be sent again.
    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>);

    /// Joins a multicast group on the network interface with this number. Zero lets the system choose an interface.
    ///
    /// # Errors
    /// The errors of the system: AddrInUse for a group that was joined already, ENODEV for an unknown interface.
    fn join_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()>;

    /// Leaves a group that was joined on `interface`.
    ///
    /// # Errors
    /// The errors of the system: `AddrNotAvailable` for a group that was not joined there.
    fn leave_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()>;

    /// Returns the value of an option.
    ///
    /// # Errors
    /// The errors of getsockopt(2). `Unsupported` where the system does not have the option.
    fn datagram_option(&mut self, key: Key, option: DatagramOption) -> io::Result<u32>;

    /// Sets an option.
    ///
    /// # Errors
    /// The errors of setsockopt(2). `Unsupported` where the system does not have the option.
    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()>;

    /// Returns the number of datagrams that one call of the system can send to one destination: 1 without UDP_SEGMENT.
    ///
    /// # Errors
    /// `NotFound` for a stale key, or `InvalidInput` for a key of another kind.
    fn segments_max(&mut self, key: Key) -> io::Result<usize>;

    /// Returns the number of datagrams that the system dropped because the receive buffer was full.
    ///
    /// # Errors
    /// The errors of getsockopt(2). `Unsupported` where the system does not say.
    fn dropped_datagrams(&mut self, key: Key) -> io::Result<u64>;
}

/// The default of [`DatagramSpec::most`]: Twisted's `maxPacketSize`.
pub const DEFAULT_PACKET_SIZE: usize = 8192;

/// The addresses of a datagram socket, with options.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_sys::DatagramSpec;
///
/// let everywhere: SocketAddr = "[::]:53".parse()?;
/// let spec = DatagramSpec { details: true, ..DatagramSpec::new(everywhere.into()) };
/// assert_eq!((spec.most, spec.dual_stack, spec.shared), (8192, true, false));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DatagramSpec {
    /// The address to bind. With port 0 the system chooses a port. [`Address::Unnamed`] binds nothing: the socket is a
    /// UNIX client that cannot be answered.
    pub address: Address,
    /// The address to connect to.
    pub peer: Option<Address>,
    /// The length of the longest datagram that is received whole. Longer ones arrive [cut](Arrival::is_cut).
    pub most: usize,
    /// Whether arrivals have their destination, their interface and their ECN mark.
    pub details: bool,
    /// Whether several sockets may bind one address: SO_REUSEADDR, SO_REUSEPORT.
    pub shared: bool,
    /// Whether an IPv6 wildcard address also takes IPv4 datagrams.
    pub dual_stack: bool,
    /// The permission bits of a UNIX socket's file, at most 0o777. With `None` the process's umask(2) decides.
    pub mode: Option<u32>,
    /// The number of bytes that the system keeps until they are received: SO_RCVBUF. The system may limit the number.
    pub receive_buffer: Option<usize>,
    /// The number of bytes that the system keeps until they are sent: SO_SNDBUF. The system may limit the number.
    pub send_buffer: Option<usize>,
}

impl DatagramSpec {
    /// Binds `address`, with datagrams of up to [`DEFAULT_PACKET_SIZE`], dual stack, no sharing and no details.
    pub fn new(address: Address) -> DatagramSpec {
        DatagramSpec {
            address,
            peer: None,
            most: DEFAULT_PACKET_SIZE,
            details: false,
            shared: false,
            dual_stack: true,
            mode: None,
            receive_buffer: None,
            send_buffer: None,
        }
    }

    /// Checks the length and the mode. A provider calls this in [`Datagrams::open_datagrams`].
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use ropewalk_sys::DatagramSpec;
    ///
    /// let anywhere: SocketAddr = "127.0.0.1:0".parse()?;
    /// let spec = DatagramSpec { most: 0, ..DatagramSpec::new(anywhere.into()) };
    /// assert!(spec.check().unwrap_err().to_string().contains("from 1 to 65536"));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if `most` is zero or above 65,536, or if the mode has other bits than the nine permission bits.
    pub fn check(&self) -> io::Result<()> {
        let message = match (self.most, self.mode) {
            (0 | 65_537.., _) => {
                format!("invalid length {} of a datagram: expected a number from 1 to 65536", self.most)
            }
            (_, Some(mode @ 0o1000..)) => {
                format!("invalid mode {mode:o}: expected permission bits from 0 to 777 in octal")
            }
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }
}

/// A datagram that was received into the caller's scratch buffer.
///
/// ```
/// use ropewalk_proto::Address;
/// use ropewalk_sys::Arrival;
///
/// let arrival = Arrival::new(0..5, Address::Unnamed);
/// assert_eq!(&b"hello, and the next one"[arrival.bytes.clone()], b"hello");
/// assert!(!arrival.is_cut && arrival.destination.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// The place of the datagram in the scratch buffer.
    pub bytes: Range<usize>,
    /// Whether the datagram was longer than [`DatagramSpec::most`]. Its end is lost.
    pub is_cut: bool,
    /// The sender's address.
    pub sender: Address,
    /// The address that the datagram was sent to: an address of this machine, a group, or a broadcast address. Known
    /// only with [`DatagramSpec::details`].
    pub destination: Option<IpAddr>,
    /// The address of this machine from which an answer should leave. Known only with [`DatagramSpec::details`].
    pub local: Option<IpAddr>,
    /// The number of the network interface, or zero without [`DatagramSpec::details`].
    pub interface: u32,
    /// The ECN mark of RFC 3168, from 0 to 3. Zero without [`DatagramSpec::details`].
    pub ecn: u8,
}

impl Arrival {
    /// Creates an arrival without details.
    pub fn new(bytes: Range<usize>, sender: Address) -> Arrival {
        Arrival { bytes, is_cut: false, sender, destination: None, local: None, interface: 0, ecn: 0 }
    }
}

/// A datagram to send.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_proto::Address;
/// use ropewalk_sys::Outgoing;
///
/// let peer = Address::from("192.0.2.1:53".parse::<SocketAddr>()?);
/// let plain = Outgoing::to(b"hello", &peer);
/// let marked = Outgoing { ecn: 1, from: Some("192.0.2.7".parse()?), ..plain };
/// assert_eq!((marked.bytes, marked.to), (plain.bytes, Some(&peer)));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The content.
    pub bytes: &'a [u8],
    /// The destination. `None` is the peer of a connected socket.
    pub to: Option<&'a Address>,
    /// The address of this machine to send from. `None` lets the system choose. A multicast address means `None`, so
    /// that the destination of a received datagram may be used here.
    pub from: Option<IpAddr>,
    /// The number of the network interface to send on. Zero lets the system choose.
    pub interface: u32,
    /// The ECN mark of RFC 3168, from 0 to 3.
    pub ecn: u8,
}

impl<'a> Outgoing<'a> {
    /// Creates a datagram for `to`.
    pub const fn to(bytes: &'a [u8], to: &'a Address) -> Outgoing<'a> {
        Outgoing { to: Some(to), ..Outgoing::to_peer(bytes) }
    }

    /// Creates a datagram for the peer of a connected socket.
    pub const fn to_peer(bytes: &'a [u8]) -> Outgoing<'a> {
        Outgoing { bytes, to: None, from: None, interface: 0, ecn: 0 }
    }
}

/// An option of a datagram socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramOption {
    /// Whether datagrams may be sent to broadcast addresses: SO_BROADCAST.
    Broadcast,
    /// The number of routers that a datagram to a group may pass, from 0 to 255: IP_MULTICAST_TTL.
    MulticastTtl,
    /// Whether datagrams to a group also reach its members on this machine: IP_MULTICAST_LOOP.
    MulticastLoop,
    /// The number of the interface on which datagrams to groups leave: IP_MULTICAST_IF. Zero lets the system choose.
    MulticastInterface,
    /// Whether datagrams are neither fragmented nor limited to the known path MTU: IP_PMTUDISC_PROBE of ip(7),
    /// IP_DONTFRAG elsewhere.
    MtuProbing,
    /// The size of the receive buffer in bytes: SO_RCVBUF. Linux returns twice the number that was set.
    ReceiveBuffer,
    /// The size of the send buffer in bytes: SO_SNDBUF. Linux returns twice the number that was set.
    SendBuffer,
}

/// The error of a datagram whose addresses are of a family that its socket does not have. It is inside an
/// [`io::Error`] of the kind `InvalidInput`.
///
/// ```
/// use std::net::SocketAddr;
/// use ropewalk_sys::FamilyError;
///
/// let v6: SocketAddr = "[::1]:53".parse()?;
/// let error = std::io::Error::from(FamilyError { address: v6.into(), expected: "an IPv4 address" });
/// assert_eq!(error.to_string(), "[::1]:53 is of another family than the socket: expected an IPv4 address");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FamilyError {
    /// The address.
    pub address: Address,
    /// A description of the addresses that the socket has.
    pub expected: &'static str,
}

impl fmt::Display for FamilyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is of another family than the socket: expected {}", self.address, self.expected)
    }
}

impl std::error::Error for FamilyError {}

impl From<FamilyError> for io::Error {
    fn from(error: FamilyError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
