//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use ropewalk_proto::Address;
use rustix::net::{SocketType, bind, listen, sockopt};

use super::file::SocketFile;
use super::{address, creation};
use crate::seam::ListenSpec;

/// Opens a listening socket. Also returns the file of a UNIX socket.
pub(crate) fn open(spec: &ListenSpec) -> io::Result<(OwnedFd, Option<Box<SocketFile>>)> {
    spec.check()?;
    let address = address::encode(&spec.address)?;
    let socket = creation::open(address.address_family(), SocketType::STREAM)?;
    if let Address::Inet(address) = spec.address {
        set_options(&socket, spec, address)?;
    }
    let file = match &spec.address {
        Address::Unix(path) => Some(SocketFile::bind(&socket, &address, path, spec.mode)?),
        _ => {
            bind(&socket, &address)?;
            None
        }
    };
    // The system reduces a backlog that exceeds its limit. A limit of this project belongs in the reactor's
    // `interfaces/`, where it also applies to the simulated network.
    listen(&socket, i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
    Ok((socket, file))
}

fn set_options(socket: &OwnedFd, spec: &ListenSpec, address: SocketAddr) -> io::Result<()> {
    sockopt::set_socket_reuseaddr(socket, true)?;
    if spec.reuse_port {
        sockopt::set_socket_reuseport(socket, true)?;
    }
    if address.is_ipv6() {
        let dual = spec.dual_stack && address.ip().is_unspecified();
        match sockopt::set_ipv6_v6only(socket, !dual) {
            // OpenBSD refuses, because it has no dual stack: its wildcard address listens on IPv6 only.
            Err(_) if dual => {}
            outcome => outcome?,
        }
    }
    Ok(())
}
