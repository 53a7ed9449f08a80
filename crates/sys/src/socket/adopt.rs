//! Sockets that another program opened.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::creation;
use super::raw_address::RawAddress;
use crate::seam::Kind;
use crate::system_error::explained_error;

/// Takes over a socket: makes it non-blocking and closed by exec(2).
///
/// # Errors
/// `InvalidInput` when the socket is not of this `kind`. `Unsupported` when its address family is not supported. The
/// errors of fcntl(2).
pub(crate) fn take_over(socket: &OwnedFd, kind: Kind) -> io::Result<()> {
    check_stream(socket)?;
    match (kind, creation::is_listening(socket)?) {
        (Kind::StreamPort, false) => Err(refusal("a stream socket that does not listen")),
        (Kind::StreamConnection, true) => Err(refusal("a listening socket, not a connection")),
        _ => Ok(creation::prepare(socket)?),
    }
}

/// Takes over a socket that will be connected.
///
/// # Errors
/// As those of [`take_over`]. connect(2) refuses a socket that listens or is connected.
pub(crate) fn take_over_to_connect(socket: &OwnedFd) -> io::Result<()> {
    check_stream(socket)?;
    Ok(creation::prepare(socket)?)
}

fn check_stream(socket: &OwnedFd) -> io::Result<()> {
    let refused =
        |errno: Errno| explained_error(io::ErrorKind::InvalidInput, errno.into(), format!("not a socket: {errno}"));
    let family = RawAddress::local(socket).map_err(refused)?.family();
    if ![AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&family) {
        let message = format!("address family {} is not supported: expected INET, INET6 or UNIX", family.as_raw());
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    if sockopt::socket_type(socket)? != SocketType::STREAM {
        return Err(refusal("not a stream socket"));
    }
    Ok(())
}

fn refusal(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
