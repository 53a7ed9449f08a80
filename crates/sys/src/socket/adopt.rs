//! Sockets that another program opened.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::creation;
use super::raw_address::RawAddress;
use crate::seam::Kind;

/// Takes over a socket: makes it non-blocking and closed by exec(2).
///
/// # Errors
/// `InvalidInput` when the socket is not of this `kind`. `Unsupported` when its address family is not supported. The
/// errors of fcntl(2).
pub(crate) fn take_over(socket: &OwnedFd, kind: Kind) -> io::Result<()> {
    let family = RawAddress::local(socket).map_err(|error| refusal(&format!("not a socket: {error}")))?.family();
    if ![AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&family) {
        let message = format!("address family {} is not supported: expected INET, INET6 or UNIX", family.as_raw());
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    if sockopt::socket_type(socket)? != SocketType::STREAM {
        return Err(refusal("not a stream socket"));
    }
    check_kind(socket, kind)?;
    Ok(creation::prepare(socket)?)
}

fn check_kind(socket: &impl AsFd, kind: Kind) -> io::Result<()> {
    match (kind, creation::is_listening(socket)?) {
        (Kind::StreamPort, false) => Err(refusal("a stream socket that does not listen")),
        (Kind::StreamConnection, true) => Err(refusal("a listening socket, not a connection")),
        _ => Ok(()),
    }
}

fn refusal(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
