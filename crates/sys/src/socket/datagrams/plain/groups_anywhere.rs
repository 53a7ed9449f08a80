//! Groups of IPv4 where an interface cannot be chosen by its number.

use super::{BorrowedFd, Ipv4Addr, io, lacks, sockopt};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(in super::super) fn join_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_add_membership(fd, &group, &ANY)?)
}

pub(in super::super) fn leave_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_drop_membership(fd, &group, &ANY)?)
}

pub(in super::super) fn set_multicast_interface(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_multicast_if(fd, &ANY)?)
}

fn check(interface: u32) -> io::Result<()> {
    if interface == 0 { Ok(()) } else { Err(lacks("the number of an interface for IPv4 groups")) }
}
