//! Groups of IPv4 on an interface with a number: `ip_mreqn`.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(super) fn join_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_add_membership_with_ifindex(fd, &group, &ANY, interface)?)
}

pub(super) fn leave_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_drop_membership_with_ifindex(fd, &group, &ANY, interface)?)
}

pub(super) fn set_multicast_interface(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_multicast_if_with_ifindex(fd, &ANY, &ANY, interface)?)
}
