//! Groups of IPv4 where an interface cannot be chosen by its number.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

use super::system::lacks;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(super) fn join_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_add_membership(fd, &group, &ANY)?)
}

pub(super) fn leave_v4(fd: BorrowedFd<'_>, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_drop_membership(fd, &group, &ANY)?)
}

pub(super) fn set_multicast_interface(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    check(interface)?;
    Ok(sockopt::set_ip_multicast_if(fd, &ANY)?)
}

fn check(interface: u32) -> io::Result<()> {
    if interface == 0 { Ok(()) } else { Err(lacks("the number of an interface for IPv4 groups")) }
}
