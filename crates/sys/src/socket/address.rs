//! Addresses between the seam and the system calls.

use std::ffi::OsStr;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ropewalk_proto::Address;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, getpeername, getsockname};

use super::unix_name;

/// An address as the system calls take it.
pub(super) fn encode(address: &Address) -> io::Result<SocketAddrAny> {
    match address {
        Address::Inet(address) => Ok((*address).into()),
        Address::Unix(path) => match SocketAddrUnix::new(&**path) {
            Ok(address) => Ok(address.into()),
            Err(Errno::NAMETOOLONG) => Err(too_long(path)),
            Err(error) => Err(error.into()),
        },
        Address::Abstract(name) => Ok(unix_name::named(name)?.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is no address to bind or connect to"))),
    }
}

/// unix(7), sun_path. Linux needs no NUL behind the last byte.
fn too_long(path: &Path) -> io::Error {
    let most = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path);
    let length = path.as_os_str().len();
    let message = format!("a path of {length} bytes is too long for a UNIX socket, which takes {most}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use super::*;

    #[test]
    fn a_path_that_is_too_long_is_told_with_how_long_it_may_be() {
        let fits = |length: usize| encode(&Address::Unix(Path::new(&"x".repeat(length)).into()));
        let error = fits(300).unwrap_err().to_string();
        let most = error.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(error, format!("a path of 300 bytes is too long for a UNIX socket, which takes {most}"));
        assert!(fits(most).is_ok() && fits(most + 1).is_err());
    }

    #[test]
    fn an_address_survives_the_trip_through_the_systems_form() {
        let scoped = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 8000, 5, 3);
        let addresses = [
            Address::Inet(SocketAddr::from(([192, 0, 2, 1], 65535))),
            Address::Inet(scoped.into()),
            Address::Unix(Arc::from(Path::new("/tmp/a socket"))),
            Address::Unix(Arc::from(Path::new("relative"))),
        ];
        for address in addresses {
            assert_eq!(decode(Some(encode(&address).unwrap())).unwrap(), address);
        }
    }

    #[test]
    fn an_address_without_a_name_cannot_be_bound() {
        assert_eq!(encode(&Address::Unnamed).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(decode(None).unwrap(), Address::Unnamed);
    }

    #[test]
    fn a_path_with_a_nul_is_refused_and_not_cut_off() {
        encode(&Address::Unix(Arc::from(Path::new("a\0b")))).unwrap_err();
    }
}
