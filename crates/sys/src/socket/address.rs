//! Addresses between the seam and the system calls.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ropewalk_proto::Address;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, getpeername, getsockname};

use super::unix_name;

/// An address as the system calls take it.
pub(super) fn encode(address: &Address) -> io::Result<SocketAddrAny> {
    match address {
        Address::Inet(address) => Ok((*address).into()),
        Address::Unix(path) => Ok(SocketAddrUnix::new(&**path)?.into()),
        Address::Abstract(name) => Ok(unix_name::named(name)?.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is no address to bind or connect to"))),
    }
}

/// An address as the system calls give it; `None` is what some systems give for a peer without a name.
pub(super) fn decode(address: Option<SocketAddrAny>) -> io::Result<Address> {
    let Some(address) = address else { return Ok(Address::Unnamed) };
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => Ok(Address::Inet(SocketAddr::try_from(address)?)),
        AddressFamily::UNIX => Ok(decode_unix(&SocketAddrUnix::try_from(address)?)),
        family => Err(io::Error::new(io::ErrorKind::Unsupported, format!("address family {}", family.as_raw()))),
    }
}

fn decode_unix(address: &SocketAddrUnix) -> Address {
    // An unnamed socket comes out of accept(2) as one with an empty abstract name.
    if let Some(name) = unix_name::abstract_of(address).filter(|name| !name.is_empty()) {
        return Address::Abstract(name.into());
    }
    match address.path_bytes() {
        Some(path) if !path.is_empty() => Address::Unix(Arc::from(Path::new(OsStr::from_bytes(path)))),
        _ => Address::Unnamed,
    }
}

pub(crate) fn local(socket: impl AsFd) -> io::Result<Address> {
    decode(Some(getsockname(socket)?))
}

pub(crate) fn peer(socket: impl AsFd) -> io::Result<Address> {
    decode(getpeername(socket)?)
}
