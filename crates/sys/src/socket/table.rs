//! Questions about sockets, answered from a provider's table of sources.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use ropewalk_proto::{Address, Key, Slab};

use super::{address, credentials, keep_alive, option};
use crate::io_handle::RawSocket;
use crate::seam::{KeepAliveTimes, PeerCredentials, SocketOption, Sockets};

/// A source of a provider, which may be a socket.
pub(crate) trait HasSocket {
    /// # Errors
    /// `InvalidInput` for a pipe, which has no options, and for a watched descriptor, which only its owner reads and
    /// writes.
    fn socket(&self) -> io::Result<BorrowedFd<'_>>;

    fn is_pipe(&self) -> bool;
}

impl<S: HasSocket> Sockets for Slab<S> {
    fn local_address(&mut self, key: Key) -> io::Result<Address> {
        address_by(self, key, |socket| address::local(socket))
    }

    fn peer_address(&mut self, key: Key) -> io::Result<Address> {
        address_by(self, key, |socket| address::peer(socket))
    }

    fn option(&mut self, key: Key, option: SocketOption) -> io::Result<bool> {
        option::get(socket(self, key)?, option)
    }

    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        option::set(socket(self, key)?, option, on)
    }

    fn keep_alive_times(&mut self, key: Key) -> io::Result<KeepAliveTimes> {
        keep_alive::times(socket(self, key)?)
    }

    fn set_keep_alive_times(&mut self, key: Key, times: KeepAliveTimes) -> io::Result<()> {
        keep_alive::set_times(socket(self, key)?, times)
    }

    fn peer_credentials(&mut self, key: Key) -> io::Result<PeerCredentials> {
        credentials::of_peer(socket(self, key)?)
    }

    fn raw_socket(&mut self, key: Key) -> Option<RawSocket> {
        Some(socket(self, key).ok()?.as_raw_fd())
    }
}

fn address_by<S: HasSocket>(
    sources: &Slab<S>,
    key: Key,
    ask: impl FnOnce(BorrowedFd<'_>) -> io::Result<Address>,
) -> io::Result<Address> {
    let source = sources.get(key).ok_or_else(stale)?;
    if source.is_pipe() { Ok(Address::Unnamed) } else { ask(source.socket()?) }
}

/// Returns the socket behind a key.
pub(crate) fn socket<S: HasSocket>(sources: &Slab<S>, key: Key) -> io::Result<BorrowedFd<'_>> {
    sources.get(key).ok_or_else(stale)?.socket()
}

#[cold]
pub(crate) fn stale() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the key is stale: its source was closed")
}

#[cold]
pub(crate) fn not_a_connection() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the key is not that of a connection")
}

#[cold]
pub(crate) fn not_datagrams() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the key is not that of a datagram socket")
}

#[cold]
pub(crate) fn no_socket_but_a_pipe() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a pipe, a terminal or a file is no socket")
}

#[cold]
pub(crate) fn not_a_socket() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a watched descriptor is read and written by its owner only")
}
