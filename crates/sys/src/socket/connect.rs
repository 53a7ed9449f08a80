//! Sockets that connect.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketType, bind, connect, sockopt};

use super::raw_address::RawAddress;
use super::{address, creation};
use crate::seam::ConnectSpec;

/// Returns a socket that is connected or connecting.
pub(crate) fn begin(spec: &ConnectSpec) -> io::Result<OwnedFd> {
    let address = address::encode(&spec.address)?;
    let socket = creation::open(address.address_family(), SocketType::STREAM)?;
    if let Some(local) = &spec.bind {
        bind(&socket, &address::encode(local)?)?;
    }
    match connect(&socket, &address) {
        // EINTR: the attempt continues, connect(2).
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        // Only a UNIX socket returns EAGAIN: no attempt was begun, so no event would ever come.
        Err(Errno::AGAIN) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, format!("the backlog of {} is full", spec.address)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the outcome of an attempt, or `WouldBlock` while it is unknown.
pub(crate) fn finish(socket: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::socket_error(socket)??;
    match RawAddress::peer(socket) {
        // No error and no peer: the wake-up was spurious.
        Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        outcome => Ok(outcome.map(drop)?),
    }
}
