//! Addresses between the seam and the system calls.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ropewalk_proto::Address;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::raw_address::{PATH_MAX_BYTES, RawAddress};
use super::unix_name;

/// Encodes an address for the system calls.
pub(super) fn encode(address: &Address) -> io::Result<SocketAddrAny> {
    match address {
        Address::Inet(address) => Ok((*address).into()),
        Address::Unix(path) => match SocketAddrUnix::new(&**path) {
            Ok(address) => Ok(address.into()),
            Err(Errno::NAMETOOLONG) => Err(too_long(path)),
            Err(error) => Err(error.into()),
        },
        Address::Abstract(name) => Ok(unix_name::named(name)?.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("cannot bind or connect to {address}"))),
    }
}

/// unix(7), sun_path. Linux needs no NUL behind the last byte.
fn too_long(path: &Path) -> io::Error {
    let length = path.as_os_str().len();
    let message = format!("a path of {length} bytes is too long for a UNIX socket, which takes {PATH_MAX_BYTES}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

pub(crate) fn local(socket: impl AsFd) -> io::Result<Address> {
    Ok(RawAddress::local(socket)?.decode())
}

pub(crate) fn peer(socket: impl AsFd) -> io::Result<Address> {
    Ok(RawAddress::peer(socket)?.decode())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
    use std::slice;
    use std::sync::Arc;

    use super::super::raw_address::decode;
    use super::*;

    fn raw_bytes(address: &SocketAddrAny) -> Vec<u8> {
        let (name, length) = (address.as_ptr().cast(), address.addr_len() as usize);
        // SAFETY: `address` lives here and has that length, of which every byte is initialized.
        unsafe { slice::from_raw_parts::<u8>(name, length) }.to_vec()
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error_with_the_limit() {
        let fits = |length: usize| encode(&Address::Unix(Path::new(&"x".repeat(length)).into()));
        let error = fits(300).unwrap_err().to_string();
        let most = error.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(error, format!("a path of 300 bytes is too long for a UNIX socket, which takes {most}"));
        assert!(fits(most).is_ok() && fits(most + 1).is_err());
    }

    #[test]
    fn decoding_reverses_encoding() {
        let scoped = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 8000, 5, 3);
        let addresses = [
            Address::Inet(SocketAddr::from(([192, 0, 2, 1], 65535))),
            Address::Inet(scoped.into()),
            Address::Unix(Arc::from(Path::new("/tmp/a socket"))),
            Address::Unix(Arc::from(Path::new("relative"))),
            Address::Unix(Arc::from(Path::new(&"x".repeat(PATH_MAX_BYTES)))),
        ];
        for address in addresses {
            assert_eq!(decode(&raw_bytes(&encode(&address).unwrap())), address);
        }
    }

    #[test]
    fn an_unnamed_address_cannot_be_bound() {
        assert_eq!(encode(&Address::Unnamed).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_path_with_a_nul_is_an_error() {
        encode(&Address::Unix(Arc::from(Path::new("a\0b")))).unwrap_err();
    }
}
