//! Addresses as the kernel writes them: `sockaddr` and its length.
//!
//! Decoding is total. The other end chooses the bytes of a UNIX address, so no bytes and no length may panic or fail:
//!
//! ```text
//!   +--------+-----------------------------+
//!   | family | /tmp/a socket \0 ...        |   a path, up to its first NUL or the end; it may fill sun_path without one
//!   | family | \0 name                     |   an abstract name, up to the end (Linux)
//!   | family |                             |   no name
//!   +--------+-----------------------------+
//! ```
//!
//! Sources: unix(7), "Pathname sockets" and BUGS; accept(2). macOS has paths of up to 253 bytes, beyond `sun_path`.

use std::ffi::{OsStr, c_int};
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un, socklen_t};
use ropewalk_proto::Address;
use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::unix_name;

/// Room for every address: BSD systems keep the length in one byte.
const ROOM: usize = 256;

/// An address that a system call has written.
#[repr(C, align(8))]
pub(super) struct RawAddress {
    bytes: [u8; ROOM],
    length: socklen_t,
}

impl RawAddress {
    /// Returns the local address: getsockname(2).
    pub(super) fn local(socket: impl AsFd) -> rustix::io::Result<RawAddress> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open, and the pointers are those of `written_by`.
        let (_, address) = RawAddress::written_by(|name, length| unsafe { libc::getsockname(fd, name, length) })?;
        Ok(address)
    }

    /// Returns the peer's address: getpeername(2).
    pub(super) fn peer(socket: impl AsFd) -> rustix::io::Result<RawAddress> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open, and the pointers are those of `written_by`.
        let (_, address) = RawAddress::written_by(|name, length| unsafe { libc::getpeername(fd, name, length) })?;
        Ok(address)
    }

    /// Makes a system call that writes an address. `call` gets a buffer for the address and the buffer's size. A result
    /// of -1 is a failure.
    pub(super) fn written_by(
        call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> c_int,
    ) -> rustix::io::Result<(c_int, RawAddress)> {
        let mut address = RawAddress { bytes: [0; ROOM], length: ROOM as socklen_t };
        let answer = call((&raw mut address.bytes).cast(), &raw mut address.length);
        if answer == -1 {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        Ok((answer, address))
    }

    /// The address family, if the kernel wrote one.
    pub(super) fn family(&self) -> AddressFamily {
        AddressFamily::from_raw(family(self.as_bytes()) as _)
    }

    /// Decodes the address. An address that is empty, cut short or of an unknown family is [`Address::Unnamed`].
    pub(super) fn decode(&self) -> Address {
        decode(self.as_bytes())
    }

    /// Returns the bytes that were written. The kernel returns the length of the whole address, even if it did not fit.
    fn as_bytes(&self) -> &[u8] {
        let length = usize::try_from(self.length).unwrap_or(ROOM);
        &self.bytes[..length.min(ROOM)]
    }
}

#[inline]
pub(super) fn decode(raw: &[u8]) -> Address {
    let decoded = match family(raw) {
        libc::AF_INET => inet(raw).map(Address::Inet),
        libc::AF_INET6 => inet6(raw).map(Address::Inet),
        libc::AF_UNIX => raw.get(offset_of!(sockaddr_un, sun_path)..).and_then(unix),
        _ => None,
    };
    decoded.unwrap_or(Address::Unnamed)
}

/// sa_family, which has one byte on BSD systems.
fn family(raw: &[u8]) -> c_int {
    field(raw, offset_of!(sockaddr, sa_family))
        .map_or(libc::AF_UNSPEC, |family| c_int::from(libc::sa_family_t::from_ne_bytes(family)))
}

fn inet(raw: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(field(raw, offset_of!(sockaddr_in, sin_port))?);
    let host = Ipv4Addr::from(field::<4>(raw, offset_of!(sockaddr_in, sin_addr))?);
    Some(SocketAddrV4::new(host, port).into())
}

fn inet6(raw: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(field(raw, offset_of!(sockaddr_in6, sin6_port))?);
    let flow = u32::from_be_bytes(field(raw, offset_of!(sockaddr_in6, sin6_flowinfo))?);
    let host = Ipv6Addr::from(field::<16>(raw, offset_of!(sockaddr_in6, sin6_addr))?);
    let scope = u32::from_ne_bytes(field(raw, offset_of!(sockaddr_in6, sin6_scope_id))?);
    Some(SocketAddrV6::new(host, port, flow, scope).into())
}

/// The name of a UNIX socket: a path with or without a NUL after it, an abstract name, or nothing.
fn unix(name: &[u8]) -> Option<Address> {
    match name {
        [] => None,
        [0, rest @ ..] => unix_name::decode_abstract(rest),
        _ => {
            let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            Some(Address::Unix(Path::new(OsStr::from_bytes(&name[..length])).into()))
        }
    }
}

/// Returns the bytes of one field, if the kernel wrote them.
fn field<const SIZE: usize>(raw: &[u8], at: usize) -> Option<[u8; SIZE]> {
    raw.get(at..)?.first_chunk().copied()
}

/// The longest path that bind(2) takes on every system.
pub(super) const PATH_MAX_BYTES: usize = size_of::<sockaddr_un>() - offset_of!(sockaddr_un, sun_path);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a UNIX address: its header, then `name`.
    fn unix_bytes(name: &[u8]) -> Vec<u8> {
        let mut raw = header(libc::AF_UNIX);
        raw.truncate(offset_of!(sockaddr_un, sun_path));
        raw.extend_from_slice(name);
        raw
    }

    /// Returns 128 bytes that begin as an address of this family.
    fn header(family: c_int) -> Vec<u8> {
        let mut raw = vec![b'x'; 128];
        let family = libc::sa_family_t::try_from(family).unwrap().to_ne_bytes();
        let at = offset_of!(sockaddr, sa_family);
        raw[at..at + family.len()].copy_from_slice(&family);
        raw
    }

    #[test]
    fn a_path_of_any_length_is_decoded_whole() {
        // unix(7), BUGS: a path that fills sun_path has no NUL, or has a NUL after the end of sun_path.
        for length in 1..=128 {
            let path = "p".repeat(length);
            let expected = Address::Unix(Path::new(&path).into());
            for end in ["", "\0", "\0\0rest"] {
                let raw = unix_bytes(&[path.as_bytes(), end.as_bytes()].concat());
                assert_eq!(decode(&raw), expected, "{length} bytes, then {end:?}");
            }
        }
    }

    #[test]
    fn an_address_cut_at_any_length_never_panics() {
        for family in [libc::AF_UNSPEC, libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_APPLETALK] {
            for first in [0, b'x', 0xff] {
                for length in 0..=128 {
                    let mut raw = header(family);
                    raw[offset_of!(sockaddr_un, sun_path)] = first;
                    drop(decode(&raw[..length]));
                }
            }
        }
    }

    #[test]
    fn a_short_inet_address_is_unnamed() {
        for (family, size) in [(libc::AF_INET, 8), (libc::AF_INET6, size_of::<sockaddr_in6>())] {
            let raw = header(family);
            assert_eq!(decode(&raw[..size - 1]), Address::Unnamed);
            assert!(decode(&raw[..size]).inet().is_some());
        }
    }

    #[test]
    fn an_empty_unix_address_is_unnamed() {
        for name in [&b""[..], b"\0"] {
            assert_eq!(decode(&unix_bytes(name)), Address::Unnamed);
        }
    }

    #[cfg(linux_like)]
    #[test]
    fn an_abstract_name_of_any_length_is_decoded_whole() {
        for length in 1..=128 {
            // unix(7): NULs have no special meaning in an abstract name.
            let name = b"a\0\xff".repeat(43);
            let raw = unix_bytes(&[b"\0", &name[..length]].concat());
            assert_eq!(decode(&raw), Address::Abstract(name[..length].into()), "{length} bytes");
        }
    }

    #[test]
    fn a_length_beyond_the_buffer_is_cut() {
        // XNU returns the length of the whole address, even if it did not fit.
        let (_, address) = RawAddress::written_by(|_, length| {
            // SAFETY: `written_by` passes a valid pointer.
            unsafe { *length = 1000 };
            0
        })
        .unwrap();
        assert_eq!(address.decode(), Address::Unnamed);
        assert_eq!(address.as_bytes().len(), ROOM);
    }
}
