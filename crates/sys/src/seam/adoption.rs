//! Sockets that another program opened, such as a service manager.

use std::io;

use ropewalk_proto::Key;

use crate::io_handle::OwnedSocket;

/// Takes over sockets of the operating system.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::{Kind, SocketOption, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let port = provider.adoption().unwrap().adopt(socket.into(), Kind::StreamPort)?;
/// assert!(provider.sockets().unwrap().local_address(port)?.inet().is_some());
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
