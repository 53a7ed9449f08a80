//! IReactorUNIX: stream sockets in the file system or, on Linux, in the abstract namespace.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Address, DEFAULT_BACKLOG};
use ropewalk_sys::ListenSpec;

use super::Interface;
use super::tcp::CONNECT_TIMEOUT;
use crate::error::Result;
use crate::kernel::Reactor;
use crate::protocols::{ClientFactory, Factory};
use crate::transports::{Connector, Port, Target};

/// The path that [`Reactor::listen_unix`] listens on, with options. Converts from a path. A leading `@` or NUL makes an
/// abstract name.
///
/// ```
/// use ropewalk::UnixBinding;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let binding = UnixBinding::new("/run/echo.sock").mode(0o600).backlog(10); // add `.lock()` on a real reactor
/// net.listen_unix(binding, AccumulatingProtocol::new().factory())?;
/// assert_eq!(net.unix_servers()[0].mode, Some(0o600));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixBinding {
    address: Address,
    backlog: u32,
    mode: u32,
    lock: bool,
}

impl UnixBinding {
    /// Creates a binding to `path` with a backlog of [`DEFAULT_BACKLOG`] and the permissions 666.
    pub fn new(path: impl AsRef<Path>) -> UnixBinding {
        UnixBinding::at(unix_address(path.as_ref()))
    }

    pub(crate) fn at(address: Address) -> UnixBinding {
        UnixBinding { address, backlog: DEFAULT_BACKLOG, mode: 0o666, lock: false }
    }

    /// Sets the number of connections that may wait to be accepted. The system may impose a lower limit.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> UnixBinding {
        self.backlog = connections;
        self
    }

    /// Sets the permission bits of the socket file, from 0 to 0o777. Others make [`Reactor::listen_unix`] fail. The
    /// file has them from the start, so no other user can connect earlier. For that, the mask of the process for new
    /// files is changed during bind(2).
    #[must_use]
    pub fn mode(mut self, mode: u32) -> UnixBinding {
        self.mode = mode;
        self
    }

    /// Holds a lock file next to the socket: `wantPID`. Listening then replaces the socket file of a dead server, and
    /// fails if the server is alive.
    #[must_use]
    pub fn lock(mut self) -> UnixBinding {
        self.lock = true;
        self
    }
}

/// The target of [`Reactor::connect_unix`], with options. Converts from a path. A leading `@` or NUL makes an abstract
/// name.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::UnixDestination;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let destination = UnixDestination::new("/no/server.sock").timeout(Duration::from_secs(5)).check_lock();
/// let connector = net.connect_unix(destination, AccumulatingProtocol::new().factory())?;
/// net.settle();
/// assert!(connector.transport().is_none()); // no server holds the lock
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixDestination {
    address: Address,
    timeout: Option<Duration>,
    check_lock: bool,
}

impl UnixDestination {
    /// Creates a destination from a path. The timeout is 30 s.
    pub fn new(path: impl AsRef<Path>) -> UnixDestination {
        UnixDestination::at(unix_address(path.as_ref()))
    }

    pub(crate) fn at(address: Address) -> UnixDestination {
        UnixDestination { address, timeout: Some(CONNECT_TIMEOUT), check_lock: false }
    }

    /// Sets the time limit for connecting. `None` leaves the limit to the system.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> UnixDestination {
        self.timeout = timeout.into();
        self
    }

    /// Fails with [`Error::BadFile`](crate::Error::BadFile) unless the lock file belongs to a living server:
    /// `checkPID`.
    #[must_use]
    pub fn check_lock(mut self) -> UnixDestination {
        self.check_lock = true;
        self
    }
}

/// Converts everything that is a path.
macro_rules! from_paths {
    ($($type:ident),*) => {$(
        from_paths! { $type: &str, &String, &std::path::Path, &std::path::PathBuf, std::path::PathBuf }
    )*};
    ($type:ident: $($path:ty),*) => {$(
        impl From<$path> for $type {
            fn from(path: $path) -> $type {
                $type::new(path)
            }
        }
    )*};
}

pub(super) use from_paths;

from_paths!(UnixBinding, UnixDestination);

impl Reactor {
    /// Accepts connections on a UNIX socket. `factory` builds a protocol for each connection.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_unix("@echo", server.factory())?; // an abstract name; "/run/echo.sock" is a path
    /// net.connect_stream("@echo").write(b"hello");
    /// net.settle();
    /// assert_eq!(server.data(), b"hello");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CannotListen`](crate::Error::CannotListen) when the path is in use or not allowed, or when the mode
    /// is above 0o777.
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the provider has no UNIX sockets.
    pub fn listen_unix(&self, binding: impl Into<UnixBinding>, factory: impl Factory + 'static) -> Result<Port> {
        self.require(Interface::Unix)?;
        let binding = binding.into();
        let spec =
            ListenSpec { backlog: binding.backlog, mode: Some(binding.mode), ..ListenSpec::new(binding.address) };
        Port::listen(self, spec, binding.lock, Rc::new(factory))
    }

    /// Connects to a UNIX socket. `factory` builds a protocol for the connection.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("/run/db.sock").unwrap();
    /// let client = AccumulatingProtocol::new();
    /// net.connect_unix("/run/db.sock", client.factory())?;
    /// net.settle();
    /// server.accept().expect("a connection").write(b"ready");
    /// net.settle();
    /// assert_eq!(client.data(), b"ready");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the provider has no UNIX sockets. Later failures are
    /// reported to the factory.
    pub fn connect_unix(
        &self,
        destination: impl Into<UnixDestination>,
        factory: impl ClientFactory + 'static,
    ) -> Result<Connector> {
        self.require(Interface::Unix)?;
        let destination = destination.into();
        let target = match destination.address {
            Address::Unix(path) if destination.check_lock => Target::LockedUnix(path),
            address => Target::Address(address),
        };
        Connector::begin(self, target, None, destination.timeout, Rc::new(factory))
    }
}

pub(super) fn unix_address(path: &Path) -> Address {
    let bytes = path.as_os_str().as_encoded_bytes();
    match bytes {
        [b'@' | 0, name @ ..] => Address::Abstract(name.into()),
        _ => Address::Unix(path.into()),
    }
}
