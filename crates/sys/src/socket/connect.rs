//! Sockets that connect.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ropewalk_proto::Address;
use rustix::io::Errno;
use rustix::net::{SocketType, bind, connect, sockopt};

use super::raw_address::RawAddress;
use super::{address, creation, option};
use crate::seam::{BindError, ConnectSpec};
use crate::system_error::explained_error;

/// Returns a socket that is connected or connecting.
pub(crate) fn begin(spec: &ConnectSpec) -> io::Result<OwnedFd> {
    let address = address::encode(&spec.address)?;
    let socket = creation::open(address.address_family(), SocketType::STREAM)?;
    if let Some(local) = &spec.bind {
        address::encode(local).and_then(|local| Ok(bind(&socket, &local)?)).map_err(BindError)?;
    }
    begin_on(&socket, &spec.address)?;
    Ok(socket)
}

/// Begins to connect a non-blocking socket.
pub(crate) fn begin_on(socket: &OwnedFd, to: &Address) -> io::Result<()> {
    match connect(socket, &address::encode(to)?) {
        // After EINTR the attempt continues: connect(2).
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(()),
        // Only a UNIX socket returns EAGAIN: no attempt was begun, so no event would ever come.
        Err(Errno::AGAIN) => {
            let message = format!("the backlog of {to} is full");
            Err(explained_error(io::ErrorKind::WouldBlock, Errno::AGAIN.into(), message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the outcome of an attempt, or `WouldBlock` while the outcome is unknown.
pub(crate) fn finish(socket: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::socket_error(socket)??;
    match RawAddress::peer(socket) {
        // The socket has neither an error nor a peer, so the wake-up was spurious.
        Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(peer) if is_own_address(socket, &peer)? => {
            // Without the reset the address would stay in use for a minute, in the state TIME_WAIT.
            option::reset_on_close(socket);
            Err(Errno::CONNREFUSED.into())
        }
        outcome => Ok(outcome.map(drop)?),
    }
}

/// Whether a socket has connected to itself. No server listens at such an address. The system chose the destination's
/// port as the socket's local port, so the socket's request came back to it (simultaneous open: RFC 9293, section 3.5).
fn is_own_address(socket: BorrowedFd<'_>, peer: &RawAddress) -> io::Result<bool> {
    let Address::Inet(peer) = peer.decode() else { return Ok(false) };
    let Address::Inet(own) = address::local(socket)? else { return Ok(false) };
    Ok((own.ip(), own.port()) == (peer.ip(), peer.port()))
}
