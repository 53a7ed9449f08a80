//! Options of datagram sockets, and groups: ip(7), ipv6(7).
//!
//! A socket of both families has each option twice. Reading one takes the value of IPv6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

use super::family::plain_ip;
use super::{DatagramSocket, groups, system};
use crate::seam::DatagramOption;

pub(super) fn get(socket: &DatagramSocket, option: DatagramOption) -> io::Result<u32> {
    let (fd, is_v6) = (socket.fd(), socket.family.has_v6());
    Ok(match option {
        DatagramOption::Broadcast => sockopt::socket_broadcast(fd)?.into(),
        DatagramOption::ReceiveBuffer => bytes(sockopt::socket_recv_buffer_size(fd)?),
        DatagramOption::SendBuffer => bytes(sockopt::socket_send_buffer_size(fd)?),
        _ if !socket.family.is_inet() => return Err(no_option()),
        DatagramOption::MulticastTtl if is_v6 => sockopt::ipv6_multicast_hops(fd)?,
        DatagramOption::MulticastTtl => sockopt::ip_multicast_ttl(fd)?,
        DatagramOption::MulticastLoop if is_v6 => sockopt::ipv6_multicast_loop(fd)?.into(),
        DatagramOption::MulticastLoop => sockopt::ip_multicast_loop(fd)?.into(),
        // IPv4 would return an address of the interface instead of its number.
        DatagramOption::MulticastInterface => socket.outgoing_interface,
        DatagramOption::MtuProbing => system::mtu_probing(fd, socket.family)?.into(),
    })
}

pub(super) fn set(socket: &mut DatagramSocket, option: DatagramOption, value: u32) -> io::Result<()> {
    let (fd, on) = (socket.fd(), value != 0);
    match option {
        DatagramOption::Broadcast => sockopt::set_socket_broadcast(fd, on)?,
        DatagramOption::ReceiveBuffer => sockopt::set_socket_recv_buffer_size(fd, value as usize)?,
        DatagramOption::SendBuffer => sockopt::set_socket_send_buffer_size(fd, value as usize)?,
        _ if !socket.family.is_inet() => return Err(no_option()),
        DatagramOption::MulticastTtl => {
            check_ttl(value)?;
            if_v6(socket, |fd| Ok(sockopt::set_ipv6_multicast_hops(fd, value)?))?;
            if_v4(socket, |fd| Ok(sockopt::set_ip_multicast_ttl(fd, value)?))?;
        }
        DatagramOption::MulticastLoop => {
            if_v6(socket, |fd| Ok(sockopt::set_ipv6_multicast_loop(fd, on)?))?;
            if_v4(socket, |fd| Ok(sockopt::set_ip_multicast_loop(fd, on)?))?;
        }
        DatagramOption::MulticastInterface => {
            if_v6(socket, |fd| Ok(sockopt::set_ipv6_multicast_if(fd, value)?))?;
            if_v4(socket, |fd| groups::set_multicast_interface(fd, value))?;
            socket.outgoing_interface = value;
        }
        DatagramOption::MtuProbing => system::set_mtu_probing(fd, socket.family, on)?,
    }
    Ok(())
}

fn if_v6(socket: &DatagramSocket, set: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    if socket.family.has_v6() { set(socket.fd()) } else { Ok(()) }
}

fn if_v4(socket: &DatagramSocket, set: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    if socket.family.has_v4() { set(socket.fd()) } else { Ok(()) }
}

pub(super) fn join(socket: &DatagramSocket, group: IpAddr, interface: u32) -> io::Result<()> {
    match checked(socket, group)? {
        IpAddr::V4(group) => groups::join_v4(socket.fd(), group, interface),
        IpAddr::V6(group) => Ok(sockopt::set_ipv6_add_membership(socket.fd(), &group, interface)?),
    }
}

pub(super) fn leave(socket: &DatagramSocket, group: IpAddr, interface: u32) -> io::Result<()> {
    match checked(socket, group)? {
        IpAddr::V4(group) => groups::leave_v4(socket.fd(), group, interface),
        IpAddr::V6(group) => Ok(sockopt::set_ipv6_drop_membership(socket.fd(), &group, interface)?),
    }
}

/// Returns the group in its plain form.
///
/// # Errors
/// `InvalidInput` for an address that is not a group. A `FamilyError` for a group of another family.
fn checked(socket: &DatagramSocket, group: IpAddr) -> io::Result<IpAddr> {
    let group = plain_ip(group);
    if !group.is_multicast() {
        let message = format!("{group} is not a group: expected an address of 224.0.0.0/4 or ff00::/8");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let is_known = if group.is_ipv4() { socket.family.has_v4() } else { socket.family.has_v6() };
    if is_known { Ok(group) } else { Err(socket.family.error(SocketAddr::new(group, 0).into())) }
}

fn no_option() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a UNIX socket does not have this option")
}

fn check_ttl(value: u32) -> io::Result<()> {
    if value <= 255 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid TTL {value}: expected a number from 0 to 255")))
}

fn bytes(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
