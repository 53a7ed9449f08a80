//! Settings that only Linux has, or has in this form: ip(7), ipv6(7), socket(7).

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use super::super::family::Family;

/// linux/in.h. The crate libc lacks it for some C libraries.
const IPV6_MULTICAST_ALL: c_int = 29;

/// asm-generic/socket.h, and the place of the number of dropped datagrams: `SK_MEMINFO_DROPS` of linux/sock_diag.h.
const SO_MEMINFO: c_int = 55;
const MEMINFO_DROPS: usize = 8;

/// Switches off the delivery of datagrams for groups that only other sockets have joined.
pub(in super::super) fn only_own_groups(fd: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    set(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)?;
    match is_v6 {
        // Linux before 4.20 does not know the option.
        true => set(fd, libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0).or_else(unless_unknown),
        false => Ok(()),
    }
}

fn unless_unknown(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
}

/// Makes the system add control messages with the destination, the interface and the ECN mark of each datagram.
pub(super) fn report_details(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    if family.has_v6() {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    if family == Family::V4 {
        set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    }
    // A socket of both families reports the mark of an IPv4 datagram only with the option of IPv4.
    if family.has_v4() { set(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1) } else { Ok(()) }
}

pub(in super::super) fn set_mtu_probing(fd: BorrowedFd<'_>, family: Family, on: bool) -> io::Result<()> {
    let (v4, v6) = match on {
        true => (Ipv4PathMtuDiscovery::PROBE, Ipv6PathMtuDiscovery::PROBE),
        false => (Ipv4PathMtuDiscovery::WANT, Ipv6PathMtuDiscovery::WANT),
    };
    if family.has_v6() {
        sockopt::set_ipv6_mtu_discover(fd, v6)?;
    }
    if family.has_v4() {
        sockopt::set_ip_mtu_discover(fd, v4)?;
    }
    Ok(())
}

pub(in super::super) fn mtu_probing(fd: BorrowedFd<'_>, family: Family) -> io::Result<bool> {
    Ok(match family.has_v6() {
        true => sockopt::ipv6_mtu_discover(fd)? == Ipv6PathMtuDiscovery::PROBE,
        false => sockopt::ip_mtu_discover(fd)? == Ipv4PathMtuDiscovery::PROBE,
    })
}

pub(in super::super) fn dropped(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut numbers = [0_u32; MEMINFO_DROPS + 1];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    let place = numbers.as_mut_ptr().cast::<c_void>();
    // SAFETY: the descriptor is open, and the call writes at most `length` bytes to `place`.
    let outcome = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, place, &raw mut length) };
    match outcome {
        0 if length as usize == size_of_val(&numbers) => Ok(numbers[MEMINFO_DROPS].into()),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let (place, length) = ((&raw const value).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open, and the call reads `length` bytes at `place`.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
