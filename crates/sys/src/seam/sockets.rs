//! Addresses and options of the socket behind a key, whatever its kind.

use std::io;

use ropewalk_proto::{Address, Key};

use crate::io_handle::RawSocket;

/// Addresses and options of sockets.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{ListenSpec, SocketOption, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let anywhere = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
/// let (port, address) = provider.streams().unwrap().listen(&ListenSpec::new(anywhere.into()))?;
/// let sockets = provider.sockets().unwrap();
/// sockets.set_option(port, SocketOption::KeepAlive, true)?; // accepted connections inherit it
/// assert!(sockets.option(port, SocketOption::KeepAlive)?);
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

    /// Returns the operating system's socket behind a key: ISystemHandle. A simulated key has none.
    fn raw_socket(&mut self, key: Key) -> Option<RawSocket>;
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
