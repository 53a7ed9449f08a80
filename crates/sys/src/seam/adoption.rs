//! Sockets that come from outside, such as those of a service manager, and sockets that are given up.

use std::io;

use ropewalk_proto::{Address, Key};

use crate::io_handle::OwnedSocket;

/// Takes over sockets of the operating system, and gives them up.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{Kind, SocketOption, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let port = provider.adoption().unwrap().adopt(socket.into(), Kind::StreamPort)?;
/// assert!(provider.sockets().unwrap().local_address(port)?.inet().is_some());
/// let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
/// let address = provider.sockets().unwrap().local_address(port)?;
/// let client = provider.adoption().unwrap().connect_socket(socket, &address)?;
/// provider.streams().unwrap().close(client);
/// provider.streams().unwrap().close(port);
/// assert!(provider.sockets().unwrap().option(port, SocketOption::KeepAlive).is_err()); // the key is stale
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Adoption {
    /// Takes over `socket` and makes it non-blocking. The key is that of a source of this `kind`.
    ///
    /// # Errors
    /// `InvalidInput` when the socket is not of this `kind`. `Unsupported` for its address family.
    fn adopt(&mut self, socket: OwnedSocket, kind: Kind) -> io::Result<Key>;

    /// Takes over `socket`, makes it non-blocking, and begins to connect it to `address`. From there on the key is like
    /// that of [`Streams::connect`](super::Streams::connect).
    ///
    /// # Errors
    /// `InvalidInput` when the socket is not a stream socket. `Unsupported` for its address family. The errors of
    /// connect(2). The socket is closed.
    fn connect_socket(&mut self, socket: OwnedSocket, address: &Address) -> io::Result<Key>;

    /// Gives up the socket of a connection, without a system call that its peer could notice, and retires the key. The
    /// socket stays non-blocking.
    ///
    /// # Errors
    /// `InvalidInput` when the key is not that of a connection. The reason why the connection broke. The key stays
    /// valid.
    fn release(&mut self, key: Key) -> io::Result<Released>;
}

/// A socket that a provider has given up, and the bytes that the provider still had.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{Kind, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
/// let adoption = provider.adoption().unwrap();
/// let key = adoption.adopt(ours.into(), Kind::StreamConnection)?;
/// let released = adoption.release(key)?;
/// assert!(released.received.is_empty() && released.unsent.is_empty());
/// let ours = std::os::unix::net::UnixStream::from(released.socket);
/// # drop(ours);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Released {
    /// The socket, which is non-blocking.
    pub socket: OwnedSocket,
    /// Received bytes that were not delivered. They precede the bytes that the socket still has.
    pub received: Vec<u8>,
    /// Written bytes that the system has not taken. They follow the bytes that were sent.
    pub unsent: Vec<u8>,
}

/// The kind of an adopted socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A listening stream socket, for [`Streams`](super::Streams).
    StreamPort,
    /// A connected stream socket, for [`Streams`](super::Streams).
    StreamConnection,
}
