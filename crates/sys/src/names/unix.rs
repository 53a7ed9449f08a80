//! getaddrinfo(3)

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr::{null, null_mut};

use super::IpFamily;

pub(super) const FAMILY_NOT_SUPPORTED: i32 = libc::EAFNOSUPPORT;

pub(super) fn look_up(host: &str, port: u16, family: IpFamily) -> io::Result<Vec<SocketAddr>> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "a host name has no zero byte");
    let host = CString::new(host).map_err(invalid)?;
    let found = Found::ask(&host, family)?;
    Ok(found.addresses().filter(|address| family.has(address)).map(|address| with_port(address, port)).collect())
}

pub(super) fn zone_number(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|&number| number != 0)
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// A list that getaddrinfo(3) returned. Never empty.
struct Found(*mut libc::addrinfo);

impl Found {
    fn ask(host: &CStr, family: IpFamily) -> io::Result<Found> {
        // SAFETY: addrinfo is a struct of integers and pointers, for all of which zero is a value.
        let mut hints: libc::addrinfo = unsafe { zeroed() };
        hints.ai_family = match family {
            IpFamily::V4 => libc::AF_INET,
            IpFamily::V6 => libc::AF_INET6,
        };
        // This asks for one entry for each address, not one for each kind of socket.
        hints.ai_socktype = libc::SOCK_STREAM;
        let mut list = null_mut();
        // SAFETY: `host` ends with a zero, `hints` is initialized, the null pointer asks for no service, and `list` may
        // be written.
        match unsafe { libc::getaddrinfo(host.as_ptr(), null(), &raw const hints, &raw mut list) } {
            0 => Ok(Found(list)),
            libc::EAI_SYSTEM => Err(io::Error::last_os_error()),
            code => Err(said(code)),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        // SAFETY: the list lives until `self` is dropped, and the iterator borrows `self`.
        let first = unsafe { self.0.as_ref() };
        let entries = std::iter::successors(first, |entry| {
            // SAFETY: `ai_next` is an entry of the same list, or null.
            unsafe { entry.ai_next.as_ref() }
        });
        entries.filter_map(address)
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: the list came from getaddrinfo, and is freed once.
        unsafe { libc::freeaddrinfo(self.0) }
    }
}

/// The address of an entry whose family is known and whose length is right.
fn address(entry: &libc::addrinfo) -> Option<SocketAddr> {
    let long_enough = |size: usize| usize::try_from(entry.ai_addrlen).is_ok_and(|length| length >= size);
    match entry.ai_family {
        libc::AF_INET if long_enough(size_of::<libc::sockaddr_in>()) => {
            // SAFETY: with this family and length, `ai_addr` points to a sockaddr_in. An unaligned read copies it.
            let inet = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = u32::from_be(inet.sin_addr.s_addr).into();
            Some(SocketAddrV4::new(ip, 0).into())
        }
        libc::AF_INET6 if long_enough(size_of::<libc::sockaddr_in6>()) => {
            // SAFETY: with this family and length, `ai_addr` points to a sockaddr_in6. An unaligned read copies it.
            let inet = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = inet.sin6_addr.s6_addr.into();
            Some(SocketAddrV6::new(ip, 0, inet.sin6_flowinfo, inet.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn said(code: i32) -> io::Error {
    // SAFETY: gai_strerror(3) takes any code.
    let text = unsafe { libc::gai_strerror(code) };
    // SAFETY: gai_strerror(3) has a constant text for each code, which ends with a zero.
    let text = unsafe { CStr::from_ptr(text) };
    io::Error::other(text.to_string_lossy().into_owned())
}
