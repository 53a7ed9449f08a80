//! No control messages of a datagram make the decoder panic, wherever they are cut. Messages of the kernel's form are
//! decoded to their details, and the last one of a kind counts.

#![no_main]

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_proto::Address;
use seam::Arrival;

#[path = "../../crates/sys/src/socket/datagrams/linux/control.rs"]
#[allow(dead_code, reason = "the target only decodes")]
mod control;

/// The items of the crate that the included file uses.
mod seam {
    pub(crate) use ropewalk::sys::Arrival;
}

#[derive(Arbitrary, Debug)]
enum Case {
    Any(Vec<u8>),
    Messages(Vec<Message>, Vec<u8>),
}

/// A message as the kernel writes it: ip(7), ipv6(7).
#[derive(Arbitrary, Debug)]
enum Message {
    V4 { interface: u32, local: Ipv4Addr, destination: Ipv4Addr },
    V6 { interface: u32, destination: Ipv6Addr },
    TypeOfService(u8),
    TrafficClass(i32),
    Unknown { level: i32, kind: i32, data: Vec<u8> },
}

fuzz_target!(|case: Case| {
    let (messages, rest) = match case {
        Case::Any(bytes) => return cut_anywhere(&bytes),
        Case::Messages(messages, rest) => (messages, rest),
    };
    let bytes: Vec<u8> = messages.iter().flat_map(Message::bytes).collect();
    let mut expected = Arrival::new(0..0, Address::Unnamed);
    messages.iter().for_each(|message| message.apply(&mut expected));
    assert_eq!(decoded(&bytes), expected);
    // The kernel cuts messages for which there is no room.
    cut_anywhere(&[bytes, rest].concat());
});

fn decoded(bytes: &[u8]) -> Arrival {
    let mut arrival = Arrival::new(0..0, Address::Unnamed);
    control::read_details(bytes, &mut arrival);
    assert!(arrival.ecn < 4, "{arrival:?}");
    arrival
}

fn cut_anywhere(bytes: &[u8]) {
    (0..=bytes.len()).for_each(|length| drop(decoded(&bytes[..length])));
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Message::V4 { interface, local, destination } => {
                let mut data = [0; size_of::<libc::in_pktinfo>()];
                put(&mut data, offset_of!(libc::in_pktinfo, ipi_ifindex), &interface.to_ne_bytes());
                put(&mut data, offset_of!(libc::in_pktinfo, ipi_spec_dst), &local.octets());
                put(&mut data, offset_of!(libc::in_pktinfo, ipi_addr), &destination.octets());
                message(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
            }
            Message::V6 { interface, destination } => {
                let mut data = [0; size_of::<libc::in6_pktinfo>()];
                put(&mut data, offset_of!(libc::in6_pktinfo, ipi6_ifindex), &interface.to_ne_bytes());
                put(&mut data, offset_of!(libc::in6_pktinfo, ipi6_addr), &destination.octets());
                message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
            }
            Message::TypeOfService(byte) => message(libc::IPPROTO_IP, libc::IP_TOS, &[*byte]),
            Message::TrafficClass(class) => message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class.to_ne_bytes()),
            Message::Unknown { level, kind, data } => message(level | UNKNOWN, *kind, data),
        }
    }

    /// Adds the details of the message.
    fn apply(&self, arrival: &mut Arrival) {
        match *self {
            Message::V4 { interface, local, destination } => {
                arrival.interface = interface;
                arrival.local = (!local.is_unspecified()).then_some(local.into());
                arrival.destination = Some(destination.into());
            }
            Message::V6 { interface, destination } => {
                let destination = IpAddr::from(destination).to_canonical();
                arrival.interface = interface;
                arrival.local = (!destination.is_multicast()).then_some(destination);
                arrival.destination = Some(destination);
            }
            Message::TypeOfService(byte) => arrival.ecn = byte & 3,
            Message::TrafficClass(class) => arrival.ecn = (class & 3) as u8,
            Message::Unknown { .. } => {}
        }
    }
}

/// A bit that the level of no known message has.
const UNKNOWN: i32 = 1 << 30;

fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let length = 2 * size_of::<i32>() + size_of::<usize>() + data.len();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(length.next_multiple_of(size_of::<usize>()), 0);
    bytes
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}
