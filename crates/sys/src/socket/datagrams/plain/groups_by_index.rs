//! Groups of IPv4 on an interface with a number: `ip_mreqn`.

use super::{BorrowedFd, Ipv4Addr, io, sockopt};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(in super::super) fn join_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_add_membership_with_ifindex(fd, &group, &ANY, interface)?)
}

pub(in super::super) fn leave_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_drop_membership_with_ifindex(fd, &group, &ANY, interface)?)
}

pub(in super::super) fn set_multicast_interface(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    Ok(sockopt::set_ip_multicast_if_with_ifindex(fd, &ANY, &ANY, interface)?)
}
