//! IReactorUNIXDatagram: datagrams between sockets in the file system or, on Linux, in the abstract namespace.

use std::io::{self, ErrorKind};
use std::path::Path;

use ropewalk_proto::Address;
use ropewalk_sys::DatagramSpec;

use super::Interface;
use super::udp::DatagramOptions;
use super::unix::{from_paths, unix_address};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::DatagramPort;

/// The path that [`Reactor::listen_unix_datagram`] receives on, with options. Converts from a path. A leading `@` or NUL
/// makes an abstract name.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::{DatagramOptions, DatagramProtocol, Reactor, UnixDatagramBinding};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let path = std::env::temp_dir().join(format!("private-{}", std::process::id()));
/// let reactor = Reactor::new()?;
/// let options = DatagramOptions::default().max_packet_size(65_536);
/// let binding = UnixDatagramBinding::new(&path).mode(0o600).options(options);
/// let port = reactor.listen_unix_datagram(binding, Silent)?;
/// assert_eq!(port.host().to_string(), path.to_string_lossy());
/// # drop(port.stop_listening());
/// # reactor.iterate(Some(std::time::Duration::ZERO))?;
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixDatagramBinding {
    address: Address,
    mode: u32,
    options: DatagramOptions,
}

impl UnixDatagramBinding {
    /// Creates a binding to `path` with the permissions 666.
    pub fn new(path: impl AsRef<Path>) -> UnixDatagramBinding {
        UnixDatagramBinding::at(unix_address(path.as_ref()))
    }

    pub(crate) fn at(address: Address) -> UnixDatagramBinding {
        UnixDatagramBinding { address, mode: 0o666, options: DatagramOptions::default() }
    }

    /// Sets the permission bits of the socket file, from 0 to 0o777. The file has them from the start.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> UnixDatagramBinding {
        self.mode = mode;
        self
    }

    /// Sets the options of every kind of datagram port.
    #[must_use]
    pub fn options(mut self, options: DatagramOptions) -> UnixDatagramBinding {
        self.options = options;
        self
    }

    fn spec(&self) -> DatagramSpec {
        DatagramSpec { mode: Some(self.mode), ..self.options.spec(self.address.clone()) }
    }
}

/// The peer of [`Reactor::connect_unix_datagram`], with options. Converts from a path. A leading `@` or NUL makes an
/// abstract name.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::{DatagramOptions, DatagramProtocol, Reactor, UnixDatagramDestination};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let [server, client] = ["server", "client"].map(|name| {
///     std::env::temp_dir().join(format!("{name}-{}", std::process::id()))
/// });
/// let reactor = Reactor::new()?;
/// let port = reactor.listen_unix_datagram(&server, Silent)?;
/// let destination = UnixDatagramDestination::new(&server).bind(&client).options(DatagramOptions::default());
/// let connected = reactor.connect_unix_datagram(destination, Silent)?;
/// assert_eq!(connected.peer(), Some(port.host()));
/// # drop((port.stop_listening(), connected.stop_listening()));
/// # reactor.iterate(Some(std::time::Duration::ZERO))?;
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixDatagramDestination {
    peer: Address,
    own: Option<UnixDatagramBinding>,
    options: DatagramOptions,
}

impl UnixDatagramDestination {
    /// Creates a destination from a path.
    pub fn new(path: impl AsRef<Path>) -> UnixDatagramDestination {
        UnixDatagramDestination::at(unix_address(path.as_ref()))
    }

    pub(crate) fn at(peer: Address) -> UnixDatagramDestination {
        UnixDatagramDestination { peer, own: None, options: DatagramOptions::default() }
    }

    /// Binds an address, so that the peer can answer: `bindAddress`. The options of `binding` do not apply.
    #[must_use]
    pub fn bind(mut self, binding: impl Into<UnixDatagramBinding>) -> UnixDatagramDestination {
        self.own = Some(binding.into());
        self
    }

    /// Sets the options of every kind of datagram port.
    #[must_use]
    pub fn options(mut self, options: DatagramOptions) -> UnixDatagramDestination {
        self.options = options;
        self
    }

    fn spec(&self) -> DatagramSpec {
        let own = self.own.as_ref().map(UnixDatagramBinding::spec);
        let (address, mode) = own.map_or((Address::Unnamed, None), |own| (own.address, own.mode));
        DatagramSpec { mode, peer: Some(self.peer.clone()), ..self.options.spec(address) }
    }
}

from_paths!(UnixDatagramBinding, UnixDatagramDestination);

impl Reactor {
    /// Opens a UNIX datagram port at a path. `protocol` gets the datagrams that arrive.
    ///
    /// Unlike UDP, the system loses no datagram between UNIX sockets, but it takes only a few until the receiver reads.
    /// On a port without a peer, a write then fails with [`Error::SendBufferFull`], and the system cannot report when
    /// there is room.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::unix::net::UnixDatagram;
    /// use std::time::Duration;
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Reactor};
    ///
    /// /// Stops the reactor when it is asked to.
    /// struct Control;
    ///
    /// impl DatagramProtocol for Control {
    ///     fn datagram_received(&mut self, port: &DatagramPort, command: &Datagram<'_>) {
    ///         if command.data == b"stop" {
    ///             port.reactor().stop().unwrap();
    ///         }
    ///     }
    /// }
    ///
    /// let path = std::env::temp_dir().join(format!("control-{}", std::process::id()));
    /// let reactor = Reactor::new()?;
    /// reactor.listen_unix_datagram(&path, Control)?;
    /// UnixDatagram::unbound()?.send_to(b"stop", &path)?;
    /// reactor.run()?;
    /// assert!(!path.exists()); // the end of the run has closed the port
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CannotListen`] when the path is in use or not allowed, or when the mode is above 0o777.
    /// [`Error::Unsupported`] when the provider has no UNIX datagrams. [`Error::Waiting`].
    pub fn listen_unix_datagram(
        &self,
        binding: impl Into<UnixDatagramBinding>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramPort> {
        self.require(Interface::UnixDatagram)?;
        let opened = self.open_datagrams(binding.into().spec())?;
        DatagramPort::begin(self, opened, Box::new(protocol))
    }

    /// Opens a UNIX datagram port that is connected to the port at a path. Without
    /// [`bind`](UnixDatagramDestination::bind) the peer cannot answer.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let path = std::env::temp_dir().join(format!("log-{}", std::process::id()));
    /// let log = std::os::unix::net::UnixDatagram::bind(&path)?;
    /// let reactor = Reactor::new()?;
    /// let port = reactor.connect_unix_datagram(&path, Silent)?;
    /// port.write(b"it works")?;
    /// let mut line = [0; 8];
    /// log.recv(&mut line)?;
    /// assert_eq!(&line, b"it works");
    /// # std::fs::remove_file(path)?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Connect`] when there is no port at the path. [`Error::CannotListen`] when the own address cannot be
    /// bound. [`Error::Unsupported`] when the provider has no UNIX datagrams. [`Error::Waiting`].
    pub fn connect_unix_datagram(
        &self,
        destination: impl Into<UnixDatagramDestination>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Result<DatagramPort> {
        self.require(Interface::UnixDatagram)?;
        let destination = destination.into();
        let (peer, spec) = (destination.peer.clone(), destination.spec());
        let opened = self.open_datagrams(spec).map_err(|error| match error {
            Error::CannotListen(address, cause) if address == peer || is_of_peer(&address, &cause) => {
                Error::Connect(peer, cause)
            }
            other => other,
        })?;
        DatagramPort::begin(self, opened, Box::new(protocol))
    }
}

/// Whether the error of a port with the address `own` is that of its peer: bind(2) refuses nothing, and an abstract name
/// is in no directory.
fn is_of_peer(own: &Address, cause: &io::Error) -> bool {
    match cause.kind() {
        ErrorKind::ConnectionRefused => true,
        ErrorKind::NotFound => matches!(own, Address::Abstract(_)),
        _ => false,
    }
}
