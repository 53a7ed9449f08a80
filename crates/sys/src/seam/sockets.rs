//! Addresses and options of the socket behind a key, whatever its kind.

use std::io;
use std::time::Duration;

use ropewalk_proto::{Address, Key};

use crate::io_handle::RawSocket;

/// Addresses and options of sockets.
///
/// ```
/// # #[cfg(unix)] {
/// use std::time::Duration;
/// use ropewalk_sys::{KeepAliveTimes, ListenSpec, SocketOption, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let anywhere = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
/// let (port, address) = provider.streams().unwrap().listen(&ListenSpec::new(anywhere.into()))?;
/// let sockets = provider.sockets().unwrap();
/// sockets.set_option(port, SocketOption::KeepAlive, true)?; // accepted connections inherit it
/// assert!(sockets.option(port, SocketOption::KeepAlive)?);
/// let minute = KeepAliveTimes { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 };
/// if sockets.set_keep_alive_times(port, minute).is_ok() {
///     assert_eq!(sockets.keep_alive_times(port)?, minute); // not on every system
/// }
/// assert_eq!(sockets.local_address(port)?, address);
/// assert!(sockets.peer_address(port).is_err() && sockets.raw_socket(port).is_some());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Sockets {
    /// Returns the local address.
    ///
    /// # Errors
    /// The errors of getsockname(2).
    fn local_address(&mut self, key: Key) -> io::Result<Address>;

    /// Returns the peer's address.
    ///
    /// # Errors
    /// The errors of getpeername(2).
    fn peer_address(&mut self, key: Key) -> io::Result<Address>;

    /// Returns whether a socket option is on.
    ///
    /// # Errors
    /// The errors of getsockopt(2).
    fn option(&mut self, key: Key, option: SocketOption) -> io::Result<bool>;

    /// Switches a socket option on or off.
    ///
    /// # Errors
    /// The errors of setsockopt(2).
    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()>;

    /// Returns the times of the keep-alive probes of a TCP socket.
    ///
    /// # Errors
    /// The errors of getsockopt(2). `Unsupported` on a system without these options.
    fn keep_alive_times(&mut self, key: Key) -> io::Result<KeepAliveTimes>;

    /// Sets the times of the keep-alive probes of a TCP socket. [`SocketOption::KeepAlive`] switches the probes on.
    ///
    /// # Errors
    /// The errors of setsockopt(2), such as EINVAL for a time that the system does not allow. `Unsupported` on a system
    /// without these options.
    fn set_keep_alive_times(&mut self, key: Key, times: KeepAliveTimes) -> io::Result<()>;

    /// Returns the process at the other end of a UNIX connection.
    ///
    /// # Errors
    /// `InvalidInput` for a socket of another family. `Unsupported` on a system without such a call.
    fn peer_credentials(&mut self, key: Key) -> io::Result<PeerCredentials>;

    /// Returns the operating system's socket behind a key: ISystemHandle. A simulated key has none.
    fn raw_socket(&mut self, key: Key) -> Option<RawSocket>;
}

/// The process at the other end of a UNIX connection, as it was when that end connected or began to listen.
///
/// The kernel vouches for the numbers: SO_PEERCRED of unix(7), getpeereid(3). A process may have passed its end of the
/// connection on since, and a process ID may belong to another process by now.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{Kind, PeerCredentials, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
/// let key = provider.adoption().unwrap().adopt(ours.into(), Kind::StreamConnection)?;
/// let peer = provider.sockets().unwrap().peer_credentials(key)?;
/// assert_eq!(peer.uid, PeerCredentials::of_this_process()?.uid);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process ID. `None` where the system does not say: on the BSDs and macOS.
    pub pid: Option<u32>,
    /// The effective user ID.
    pub uid: u32,
    /// The effective group ID.
    pub gid: u32,
}

impl PeerCredentials {
    /// Returns the numbers that peers of this process see.
    ///
    /// # Errors
    /// `Unsupported` on a system without users.
    pub fn of_this_process() -> io::Result<PeerCredentials> {
        let (uid, gid) = crate::identity::effective()?;
        Ok(PeerCredentials { pid: Some(std::process::id()), uid, gid })
    }
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

/// The times of the keep-alive probes of a TCP connection, tcp(7). Systems count in whole seconds.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_sys::KeepAliveTimes;
///
/// let times = KeepAliveTimes { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 };
/// // A peer that has vanished is noticed after 90 seconds.
/// assert_eq!(times.idle + times.interval * times.count, Duration::from_secs(90));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAliveTimes {
    /// The time without any bytes after which the first probe is sent: TCP_KEEPIDLE.
    pub idle: Duration,
    /// The time between two probes: TCP_KEEPINTVL.
    pub interval: Duration,
    /// The number of unanswered probes after which the connection is lost: TCP_KEEPCNT.
    pub count: u32,
}
