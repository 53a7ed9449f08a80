//! The state behind a datagram socket: what it is bound to, and datagrams that have arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use ropewalk_proto::{Address, Key, Moment};
use ropewalk_sys::{Arrival, DatagramOption, DatagramSpec, FamilyError, Ready, explained_error, system_error};

use super::machines::MachineId;

/// The numbers of the interfaces of each machine: the loopback interface, and the network.
const INTERFACES: std::ops::RangeInclusive<u32> = 1..=2;

/// The default size of the receive buffer: net.core.rmem_default of Linux.
const RECEIVE_BUFFER: usize = 212_992;

/// The bytes that a kernel counts for each datagram beside its content.
const OVERHEAD: usize = 512;

/// The number of datagrams that a UNIX socket queues: net.unix.max_dgram_qlen of Linux.
const UNIX_QUEUE: usize = 10;

/// A datagram with its addresses.
#[derive(Clone)]
pub(super) struct Packet {
    pub(super) bytes: Bytes,
    pub(super) sender: Address,
    pub(super) destination: Option<IpAddr>,
    pub(super) ecn: u8,
}

pub(super) struct DatagramEnd {
    pub(super) owner: Key,
    pub(super) machine: MachineId,
    pub(super) address: Address,
    pub(super) peer: Option<Address>,
    most: usize,
    has_details: bool,
    is_dual: bool,
    pub(super) reading: bool,
    queue: VecDeque<Packet>,
    queued_bytes: usize,
    pub(super) dropped: u64,
    pub(super) options: Options,
    /// The groups that were joined, with the number of the interface.
    pub(super) groups: BTreeSet<(IpAddr, u32)>,
    /// Whether the peer has refused a datagram.
    pub(super) is_refused: bool,
    /// Whether the owner waits for room in the peer's queue.
    pub(super) write_wanted: bool,
    /// The latest arrival at each destination, so that later datagrams do not overtake.
    pub(super) latest: BTreeMap<SocketAddr, Moment>,
}

/// The options of a socket.
pub(super) struct Options {
    pub(super) broadcast: bool,
    pub(super) ttl: u32,
    pub(super) loops: bool,
    pub(super) interface: u32,
    pub(super) probes: bool,
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,
}

impl DatagramEnd {
    pub(super) fn new(owner: Key, machine: MachineId, address: Address, spec: &DatagramSpec) -> DatagramEnd {
        let is_wildcard_v6 = address.inet().is_some_and(|inet| inet.is_ipv6() && inet.ip().is_unspecified());
        DatagramEnd {
            owner,
            machine,
            address,
            peer: None,
            most: spec.most,
            has_details: spec.details,
            is_dual: spec.dual_stack && is_wildcard_v6,
            reading: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            dropped: 0,
            options: Options {
                broadcast: false,
                ttl: 1,
                loops: true,
                interface: 0,
                probes: false,
                receive_buffer: spec.receive_buffer.unwrap_or(RECEIVE_BUFFER),
                send_buffer: spec.send_buffer.unwrap_or(RECEIVE_BUFFER),
            },
            groups: BTreeSet::new(),
            is_refused: false,
            write_wanted: false,
            latest: BTreeMap::new(),
        }
    }

    /// Returns the options.
    ///
    /// # Errors
    /// `InvalidInput` if a UNIX socket does not have `option`.
    pub(super) fn options_with(&self, option: DatagramOption) -> io::Result<&Options> {
        match option {
            DatagramOption::Broadcast | DatagramOption::ReceiveBuffer | DatagramOption::SendBuffer => Ok(&self.options),
            _ if self.is_unix() => Err(system_error(io::ErrorKind::InvalidInput)),
            _ => Ok(&self.options),
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        self.address.inet().is_none()
    }

    /// Returns a destination in its plain form.
    ///
    /// # Errors
    /// A [`FamilyError`] for an address of another family.
    pub(super) fn checked(&self, to: &Address) -> io::Result<Address> {
        match (&self.address, to) {
            (Address::Inet(_), Address::Inet(inet)) => {
                let plain = SocketAddr::new(inet.ip().to_canonical(), inet.port());
                self.check_family(plain.ip()).map(|()| plain.into())
            }
            (Address::Inet(_), _) | (_, Address::Inet(_) | Address::Unnamed) => Err(self.family_error(to.clone())),
            _ => Ok(to.clone()),
        }
    }

    pub(super) fn check_family(&self, ip: IpAddr) -> io::Result<()> {
        let has = |own: SocketAddr| ip.is_ipv4() == own.is_ipv4() || self.is_dual && ip.is_ipv4();
        let is_known = self.address.inet().is_some_and(has);
        if is_known { Ok(()) } else { Err(self.family_error(SocketAddr::new(ip, 0).into())) }
    }

    fn family_error(&self, address: Address) -> io::Error {
        let expected = match self.address {
            Address::Inet(SocketAddr::V4(_)) => "an IPv4 address",
            Address::Inet(_) if self.is_dual => "an IPv4 or IPv6 address",
            Address::Inet(_) => "an IPv6 address",
            _ => "the name of a UNIX socket",
        };
        FamilyError { address, expected }.into()
    }

    /// Returns the wildcard address of the destination's family, or the address that the socket is bound to.
    pub(super) fn bound_for(&self, to: SocketAddr) -> Option<SocketAddr> {
        let own = self.address.inet()?;
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Some(if own.ip().is_unspecified() { SocketAddr::new(any, own.port()) } else { own })
    }

    /// Whether datagrams of `sender` may arrive: a connected socket receives only from its peer.
    pub(super) fn takes_from(&self, sender: &Address) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer == sender)
    }

    /// Whether the socket is a member of `group`.
    pub(super) fn is_member(&self, group: IpAddr) -> bool {
        self.groups.iter().any(|(joined, _)| *joined == group)
    }

    pub(super) fn has_room(&self, length: usize) -> bool {
        match self.is_unix() {
            true => self.queue.len() <= UNIX_QUEUE,
            false => self.queued_bytes + length + OVERHEAD <= self.options.receive_buffer.max(length + OVERHEAD),
        }
    }

    /// Queues a datagram, or drops it if there is no room.
    pub(super) fn arrive(&mut self, packet: Packet) {
        if !self.has_room(packet.bytes.len()) {
            self.dropped += 1;
            return;
        }
        self.queued_bytes += packet.bytes.len() + OVERHEAD;
        self.queue.push_back(packet);
    }

    pub(super) fn ready(&self, peer_has_room: bool) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::READ, self.reading && (self.is_refused || !self.queue.is_empty()));
        ready.set(Ready::WRITE, self.write_wanted && peer_has_room);
        ready
    }

    /// Takes at most `most` datagrams. Returns whether more may be waiting.
    pub(super) fn receive(&mut self, scratch: &mut [u8], most: usize, arrivals: &mut Vec<Arrival>) -> bool {
        let slot = self.most.min(scratch.len()).max(1);
        let places = scratch.chunks_exact_mut(slot).take(most.max(1)).enumerate();
        for (number, place) in places {
            let Some(packet) = self.queue.pop_front() else { return false };
            self.queued_bytes -= packet.bytes.len() + OVERHEAD;
            let length = packet.bytes.len().min(slot);
            place[..length].copy_from_slice(&packet.bytes[..length]);
            let start = number * slot;
            let mut arrival = Arrival::new(start..start + length, packet.sender);
            arrival.is_cut = packet.bytes.len() > slot;
            if let Some(destination) = packet.destination.filter(|_| self.has_details) {
                arrival.destination = Some(destination);
                arrival.local = Some(destination).filter(|ip| !is_for_many(*ip));
                arrival.interface = if destination.is_loopback() { 1 } else { 2 };
                arrival.ecn = packet.ecn;
            }
            arrivals.push(arrival);
        }
        true
    }
}

/// Whether datagrams for `ip` reach several receivers: a group, or a broadcast.
pub(super) fn is_for_many(ip: IpAddr) -> bool {
    ip.is_multicast() || is_broadcast(ip)
}

/// Whether `ip` is the broadcast address of all networks, or of the loopback network.
pub(super) fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST) || ip == IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255))
}

/// # Errors
/// `NotFound` if a machine has no interface of this number. Zero means any interface.
pub(super) fn check_interface(number: u32) -> io::Result<()> {
    if number == 0 || INTERFACES.contains(&number) {
        return Ok(());
    }
    let cause = system_error(io::ErrorKind::NotFound);
    Err(explained_error(cause.kind(), cause, format!("there is no network interface {number}")))
}
