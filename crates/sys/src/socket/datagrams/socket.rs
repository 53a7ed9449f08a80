//! A datagram socket: opening, adopting, connecting.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ropewalk_proto::Address;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, connect, sockopt};

use super::family::{Family, is_dual, plain};
use super::system::{self, Abilities};
use crate::io_handle::OwnedSocket;
use crate::seam::DatagramSpec;
use crate::socket::file::SocketFile;
use crate::socket::raw_address::RawAddress;
use crate::socket::{address, creation};
use crate::system_error::explained_error;

pub(crate) struct DatagramSocket {
    /// The file of a UNIX socket. It must be removed before the descriptor is closed, because afterwards another socket
    /// may bind the path.
    file: Option<Box<SocketFile>>,
    fd: OwnedFd,
    pub(super) family: Family,
    /// The address that the socket is connected to.
    peer: Option<Address>,
    /// The length of the longest datagram that is received whole.
    pub(super) most: usize,
    /// The interface on which datagrams to groups leave, as it was set.
    pub(super) outgoing_interface: u32,
    pub(super) abilities: Abilities,
}

impl DatagramSocket {
    pub(super) fn open(spec: &DatagramSpec) -> io::Result<DatagramSocket> {
        spec.check()?;
        let family = family_of(spec)?;
        let fd = creation::open(family, SocketType::DGRAM)?;
        if let Address::Inet(address) = spec.address {
            set_up_inet(&fd, spec, address)?;
        }
        let mut socket = DatagramSocket::on(fd, family, spec)?;
        socket.bind(spec)?;
        if let Some(peer) = &spec.peer {
            socket.connect(peer)?;
        }
        Ok(socket)
    }

    pub(super) fn adopt(fd: OwnedSocket, spec: &DatagramSpec) -> io::Result<DatagramSocket> {
        let spec = DatagramSpec { mode: None, ..spec.clone() };
        spec.check()?;
        let family = check_datagram(&fd)?;
        creation::prepare(&fd)?;
        let mut socket = DatagramSocket::on(fd, family, &spec)?;
        socket.peer = address::peer(&socket.fd).ok().map(plain);
        Ok(socket)
    }

    /// Sets the options that a socket needs before datagrams arrive.
    fn on(fd: OwnedFd, family: AddressFamily, spec: &DatagramSpec) -> io::Result<DatagramSocket> {
        let family = match family {
            AddressFamily::INET => Family::V4,
            AddressFamily::INET6 if sockopt::ipv6_v6only(&fd)? => Family::V6Only,
            AddressFamily::INET6 => Family::Dual,
            _ => Family::Unix,
        };
        if let Some(bytes) = spec.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&fd, bytes)?;
        }
        if let Some(bytes) = spec.send_buffer {
            sockopt::set_socket_send_buffer_size(&fd, bytes)?;
        }
        let abilities = Abilities::set_up(fd.as_fd(), family, spec.details)?;
        Ok(DatagramSocket { file: None, fd, family, peer: None, most: spec.most, abilities, outgoing_interface: 0 })
    }

    fn bind(&mut self, spec: &DatagramSpec) -> io::Result<()> {
        match &spec.address {
            // The system gives the socket no name.
            Address::Unnamed => {}
            Address::Unix(path) => {
                let address = address::encode(&spec.address)?;
                self.file = Some(SocketFile::bind(&self.fd, &address, path, spec.mode)?);
            }
            _ => bind(&self.fd, &address::encode(&spec.address)?)?,
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, peer: &Address) -> io::Result<()> {
        let encoded = self.family.destination(peer)?;
        loop {
            match connect(&self.fd, &encoded) {
                Err(Errno::INTR) => {}
                outcome => break outcome?,
            }
        }
        self.peer = Some(plain(peer.clone()));
        Ok(())
    }

    pub(super) fn local_address(&self) -> io::Result<Address> {
        address::local(&self.fd).map(plain)
    }

    pub(super) fn peer(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// Returns whether the system reports room. For a UNIX socket without a peer it always reports room, even if each
    /// receiver's queue is full: waiting for room would never sleep.
    pub(super) fn can_await_room(&self) -> bool {
        self.family.is_inet() || self.peer.is_some()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes this process the one that removes the file of a UNIX socket.
    pub(crate) fn claim_file(&self) {
        if let Some(file) = &self.file {
            file.claim();
        }
    }
}

/// Returns the family of the socket to open: that of its own address, or else that of its peer.
fn family_of(spec: &DatagramSpec) -> io::Result<AddressFamily> {
    let decisive = match (&spec.address, &spec.peer) {
        (Address::Unnamed, Some(peer)) => peer,
        (Address::Unnamed, None) => return Ok(AddressFamily::UNIX),
        (address, _) => address,
    };
    Ok(address::encode(decisive)?.address_family())
}

fn set_up_inet(fd: &OwnedFd, spec: &DatagramSpec, address: SocketAddr) -> io::Result<()> {
    // Without these options a second socket cannot bind the address. With them, the system gives the datagrams to one
    // of the sockets.
    if spec.shared {
        sockopt::set_socket_reuseaddr(fd, true)?;
        sockopt::set_socket_reuseport(fd, true)?;
    }
    if let SocketAddr::V6(v6) = address {
        let dual = spec.dual_stack && is_dual(v6.ip());
        match sockopt::set_ipv6_v6only(fd, !dual) {
            // OpenBSD refuses, because it has no dual stack: its wildcard address is for IPv6 only.
            Err(_) if dual => {}
            outcome => outcome?,
        }
    }
    system::only_own_groups(fd.as_fd(), address.is_ipv6())
}

fn check_datagram(fd: &OwnedFd) -> io::Result<AddressFamily> {
    let refused =
        |errno: Errno| explained_error(io::ErrorKind::InvalidInput, errno.into(), format!("not a socket: {errno}"));
    let family = RawAddress::local(fd).map_err(refused)?.family();
    if ![AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&family) {
        let message = format!("address family {} is not supported: expected INET, INET6 or UNIX", family.as_raw());
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    if sockopt::socket_type(fd)? != SocketType::DGRAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a datagram socket"));
    }
    Ok(family)
}
