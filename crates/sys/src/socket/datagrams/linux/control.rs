//! Control messages of datagrams: cmsg(3).
//!
//! ```text
//!   | length, level, type | data | padding | length, level, type | data ...
//! ```
//!
//! The data of each kind, from ip(7), ipv6(7) and udp(7):
//!
//! ```text
//!   IP_PKTINFO       in_pktinfo: interface, local address, destination      both directions
//!   IPV6_PKTINFO     in6_pktinfo: destination, interface                    both directions. Also for IPv4 when received
//!   IP_TOS           received: one byte. Sent: an int                       the ECN mark is in the two low bits
//!   IPV6_TCLASS      an int                                                 both directions
//!   UDP_SEGMENT      u16: the length of each datagram of a train            sent only
//! ```
//!
//! Decoding is total: no bytes make it panic, and unknown messages are skipped.

use std::ffi::c_int;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{in_pktinfo, in6_pktinfo};

use crate::seam::Arrival;

/// Room for the control messages of one datagram, in either direction.
pub(super) const ROOM: usize = 128;

/// linux/udp.h. The crate libc lacks it for some C libraries.
pub(super) const UDP_SEGMENT: c_int = 103;

/// The two bits of the traffic class that RFC 3168 uses.
const ECN: u8 = 0b11;

/// The header as the kernel has it, linux/socket.h: the length, which counts the header too, then the level and the type.
/// The header of musl looks different, but has the same bytes.
const LEVEL: usize = size_of::<usize>();
const TYPE: usize = LEVEL + size_of::<c_int>();
const HEADER: usize = TYPE + size_of::<c_int>();

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// Control messages to be sent.
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; ROOM],
    length: usize,
}

impl Control {
    pub(super) const fn new() -> Control {
        Control { bytes: [0; ROOM], length: 0 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Appends the source address and the interface of an IPv4 datagram.
    pub(super) fn push_v4_source(&mut self, from: Ipv4Addr, interface: u32) {
        let mut data = [0; size_of::<in_pktinfo>()];
        put(&mut data, offset_of!(in_pktinfo, ipi_ifindex), &interface.to_ne_bytes());
        put(&mut data, offset_of!(in_pktinfo, ipi_spec_dst), &from.octets());
        self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
    }

    /// Appends the source address and the interface of an IPv6 datagram.
    pub(super) fn push_v6_source(&mut self, from: Ipv6Addr, interface: u32) {
        let mut data = [0; size_of::<in6_pktinfo>()];
        put(&mut data, offset_of!(in6_pktinfo, ipi6_ifindex), &interface.to_ne_bytes());
        put(&mut data, offset_of!(in6_pktinfo, ipi6_addr), &from.octets());
        self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
    }

    pub(super) fn push_ecn(&mut self, ecn: u8, is_v4: bool) {
        let (level, kind) = match is_v4 {
            true => (libc::IPPROTO_IP, libc::IP_TOS),
            false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        self.push(level, kind, &c_int::from(ecn & ECN).to_ne_bytes());
    }

    pub(super) fn push_segment(&mut self, length: u16) {
        self.push(libc::SOL_UDP, UDP_SEGMENT, &length.to_ne_bytes());
    }

    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let length = HEADER + data.len();
        let place = &mut self.bytes[self.length..][..aligned(length)];
        put(place, 0, &length.to_ne_bytes());
        put(place, LEVEL, &level.to_ne_bytes());
        put(place, TYPE, &kind.to_ne_bytes());
        put(place, HEADER, data);
        self.length += aligned(length);
    }
}

fn put(place: &mut [u8], at: usize, bytes: &[u8]) {
    place[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Adds the details that the control messages contain to an arrival.
pub(super) fn read_details(mut rest: &[u8], arrival: &mut Arrival) {
    while let Some((level, kind, data, next)) = first_message(rest) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => read_v4_pktinfo(data, arrival),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => read_v6_pktinfo(data, arrival),
            (libc::IPPROTO_IP, libc::IP_TOS) => arrival.ecn = data.first().map_or(0, |tos| tos & ECN),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                arrival.ecn = field(data, 0).map_or(0, |class| c_int::from_ne_bytes(class) as u8 & ECN);
            }
            _ => {}
        }
        rest = next;
    }
}

/// Returns the first message: its level, its type, its data, and the bytes of the following messages.
fn first_message(bytes: &[u8]) -> Option<(c_int, c_int, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(field(bytes, 0)?);
    let (level, kind) = (field(bytes, LEVEL)?, field(bytes, TYPE)?);
    let data = bytes.get(HEADER..length)?;
    let next = bytes.get(length.checked_next_multiple_of(size_of::<usize>())?..).unwrap_or_default();
    Some((c_int::from_ne_bytes(level), c_int::from_ne_bytes(kind), data, next))
}

fn read_v4_pktinfo(data: &[u8], arrival: &mut Arrival) {
    let address = |at| field(data, at).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    arrival.destination = address(offset_of!(in_pktinfo, ipi_addr));
    arrival.local = address(offset_of!(in_pktinfo, ipi_spec_dst)).filter(|local| !local.is_unspecified());
    arrival.interface = field(data, offset_of!(in_pktinfo, ipi_ifindex)).map_or(0, u32::from_ne_bytes);
}

fn read_v6_pktinfo(data: &[u8], arrival: &mut Arrival) {
    let octets = field(data, offset_of!(in6_pktinfo, ipi6_addr));
    arrival.destination = octets.map(|octets| IpAddr::from(Ipv6Addr::from(octets)).to_canonical());
    arrival.local = arrival.destination.filter(|local| !local.is_multicast());
    arrival.interface = field(data, offset_of!(in6_pktinfo, ipi6_ifindex)).map_or(0, u32::from_ne_bytes);
}

fn field<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use ropewalk_proto::Address;

    use super::*;

    fn decoded(bytes: &[u8]) -> Arrival {
        let mut arrival = Arrival::new(0..0, Address::Unnamed);
        read_details(bytes, &mut arrival);
        arrival
    }

    #[test]
    fn decoding_finds_what_encoding_wrote() {
        let mut control = Control::new();
        control.push_segment(1200);
        control.push_v6_source(Ipv6Addr::LOCALHOST, 3);
        control.push_ecn(2, false);
        let arrival = decoded(control.as_bytes());
        let local = Some(IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!((arrival.destination, arrival.local, arrival.interface, arrival.ecn), (local, local, 3, 2));
    }

    #[test]
    fn the_address_to_answer_from_is_not_the_group() {
        // ip(7): ipi_spec_dst is the local address, ipi_addr the destination in the header.
        let mut control = Control::new();
        control.push_v4_source(Ipv4Addr::new(192, 0, 2, 7), 4);
        let at = HEADER + offset_of!(in_pktinfo, ipi_addr);
        control.bytes[at..at + 4].copy_from_slice(&[239, 1, 2, 3]);
        let arrival = decoded(control.as_bytes());
        assert_eq!(arrival.destination, Some("239.1.2.3".parse().unwrap()));
        assert_eq!(arrival.local, Some("192.0.2.7".parse().unwrap()));
        let mut control = Control::new();
        control.push_v6_source("ff02::fb".parse().unwrap(), 4);
        let arrival = decoded(control.as_bytes());
        assert_eq!((arrival.destination, arrival.local), (Some("ff02::fb".parse().unwrap()), None));
    }

    #[test]
    fn a_mapped_destination_is_shown_as_ipv4() {
        let mut control = Control::new();
        control.push_v6_source(Ipv4Addr::new(127, 0, 0, 2).to_ipv6_mapped(), 1);
        assert_eq!(decoded(control.as_bytes()).destination, Some("127.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_mark_of_one_byte_is_read() {
        // ip(7): the kernel delivers IP_TOS as one byte.
        let mut control = Control::new();
        control.push(libc::IPPROTO_IP, libc::IP_TOS, &[0b1011_0001]);
        assert_eq!(decoded(control.as_bytes()).ecn, 1);
    }

    #[test]
    fn an_unknown_message_is_skipped() {
        let mut control = Control::new();
        control.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[1; 16]);
        control.push_ecn(3, true);
        assert_eq!(decoded(control.as_bytes()).ecn, 3);
    }

    #[test]
    fn messages_cut_at_any_length_never_panic() {
        let mut control = Control::new();
        control.push_v4_source(Ipv4Addr::LOCALHOST, 1);
        control.push_ecn(1, true);
        let whole = control.as_bytes();
        for length in 0..whole.len() {
            decoded(&whole[..length]);
        }
        for first in [0, 1, HEADER - 1, HEADER, usize::MAX, usize::MAX - 7] {
            let mut bytes = whole.to_vec();
            bytes[..size_of::<usize>()].copy_from_slice(&first.to_ne_bytes());
            decoded(&bytes);
        }
    }

    #[test]
    fn all_messages_of_one_datagram_fit() {
        let mut control = Control::new();
        control.push_v6_source(Ipv6Addr::LOCALHOST, 1);
        control.push_ecn(1, false);
        control.push_segment(1);
        assert!(control.length <= ROOM);
    }
}
