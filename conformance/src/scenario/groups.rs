//! Scenarios of groups, broadcasts and packets that are too long, in a network namespace of their own.
//!
//! `network.rs` sets the namespace up: the loopback interface `lo`, and a pair of virtual Ethernet devices `v0` and `v1`.
//! The default route leads to `v0`, behind which there is only `v1`.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ropewalk::sys::{Outgoing, zone_number};
use ropewalk::{Address, DatagramPort, Error, Reactor, UdpBinding};

use crate::Subject;
use crate::datagram_script::DatagramScript;
use crate::waiting::iterate_until;

const GROUP: &str = "239.1.2.3";
const OTHER_GROUP: &str = "239.1.2.4";
const GROUP_V6: &str = "ff02::1:5";
const OTHER_GROUP_V6: &str = "ff02::1:6";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(group: &str, port: &DatagramPort) -> Address {
    SocketAddr::new(ip(group), number(port)).into()
}

fn number(port: &DatagramPort) -> u16 {
    port.host().inet().expect("a UDP port").port()
}

/// Returns a port on a wildcard address that collects.
fn member(reactor: &Reactor, wildcard: &str) -> (DatagramPort, DatagramScript) {
    let script = DatagramScript::new();
    let binding = UdpBinding::try_from(wildcard).expect("an address").shared().details();
    (reactor.listen_udp(binding, script.clone()).expect("a port"), script)
}

/// Returns a port that sends to groups on `interface`.
fn speaker(reactor: &Reactor, wildcard: &str, interface: &str) -> DatagramPort {
    let port = reactor.listen_udp(wildcard, DatagramScript::new()).expect("a port");
    port.set_outgoing_interface(interface).expect("there is one");
    assert_eq!(port.outgoing_interface().expect("an open port"), index(interface));
    port
}

fn index(interface: &str) -> u32 {
    zone_number(interface).expect("there is one")
}

fn settle(reactor: &Reactor) {
    iterate_until(reactor, || true);
}

pub(super) fn membership(subject: &Subject) {
    let places = [("0.0.0.0:0", GROUP, "lo"), ("[::]:0", GROUP_V6, "v0"), ("[::]:0", GROUP, "lo")];
    for (wildcard, group, interface) in places {
        let reactor = subject.reactor();
        let ((port, script), speaker) = (member(&reactor, wildcard), speaker(&reactor, wildcard, interface));
        let to = at(group, &port);
        speaker.write_to(b"before", &to).expect("a route");
        settle(&reactor);
        port.join_group(ip(group), interface).expect("a group");
        speaker.write_to(b"member", &to).expect("a route");
        iterate_until(&reactor, script.has(1));
        port.leave_group(ip(group), index(interface)).expect("a member");
        speaker.write_to(b"after", &to).expect("a route");
        settle(&reactor);
        assert_eq!(script.received(), [b"member"], "{wildcard} {group}");
    }
}

pub(super) fn details_of_a_group(subject: &Subject) {
    for (wildcard, group, interface) in [("0.0.0.0:0", GROUP, "lo"), ("[::]:0", GROUP_V6, "v0")] {
        let (reactor, number) = (subject.reactor(), index(interface));
        let script = DatagramScript::new().on_data(move |port, datagram| {
            assert_eq!((datagram.to, datagram.interface), (Some(ip(group)), number));
            assert!(datagram.local.is_none_or(|local| !local.is_multicast()));
            // A group is no source, so the system chooses one.
            let answer = Outgoing { from: datagram.to, ..Outgoing::to(b"answer", datagram.from) };
            assert!(matches!(port.send(&[answer]), (1, Ok(()))));
        });
        let binding = UdpBinding::try_from(wildcard).expect("an address").details();
        let port = reactor.listen_udp(binding, script.clone()).expect("a port");
        port.join_group(ip(group), interface).expect("a group");
        let speaker = speaker(&reactor, wildcard, interface);
        speaker.write_to(b"question", &at(group, &port)).expect("a route");
        iterate_until(&reactor, script.has(1));
    }
}

pub(super) fn foreign_groups(subject: &Subject) {
    for (wildcard, group, other, interface) in
        [("0.0.0.0", GROUP, OTHER_GROUP, "lo"), ("::", GROUP_V6, OTHER_GROUP_V6, "v0")]
    {
        let reactor = subject.reactor();
        let (one, of_one) = member(&reactor, &SocketAddr::new(ip(wildcard), 0).to_string());
        let (two, of_two) = member(&reactor, &one.host().to_string());
        one.join_group(ip(group), interface).expect("a group");
        two.join_group(ip(other), interface).expect("a group");
        let speaker = speaker(&reactor, &SocketAddr::new(ip(wildcard), 0).to_string(), interface);
        speaker.write_to(b"to the other", &at(other, &one)).expect("a route");
        iterate_until(&reactor, of_two.has(1));
        assert_eq!((of_one.received().len(), of_two.received()), (0, vec![b"to the other".to_vec()]), "{wildcard}");
    }
}

pub(super) fn failed_memberships(subject: &Subject) {
    let reactor = subject.reactor();
    for (wildcard, group, of_another_family) in [("0.0.0.0:0", GROUP, GROUP_V6), ("[::]:0", GROUP_V6, GROUP)] {
        let binding = UdpBinding::try_from(wildcard).expect("an address").v6_only();
        let port = reactor.listen_udp(binding, DatagramScript::new()).expect("a port");
        let kind = |outcome: Result<(), Error>| match outcome.expect_err("no membership") {
            Error::MulticastJoin(_, cause) => cause.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(port.join_group(ip(group), "no such interface")), ErrorKind::NotFound);
        assert_eq!(kind(port.join_group(ip("127.0.0.1"), "lo")), ErrorKind::InvalidInput);
        let unknown = port.join_group(ip(group), 4711).expect_err("no interface");
        assert_eq!(unknown.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
        port.join_group(ip(group), "lo").expect("a group");
        assert_eq!(kind(port.join_group(ip(group), 1)), ErrorKind::AddrInUse);
        port.leave_group(ip(group), "lo").expect("a member");
        assert_eq!(kind(port.leave_group(ip(group), "lo")), ErrorKind::AddrNotAvailable);
        let error = port.join_group(ip(of_another_family), "lo").expect_err("another family");
        assert!(matches!(error, Error::WrongFamily(..)), "{error:?}");
        assert!(port.is_listening());
    }
}

pub(super) fn interface_of_a_group(subject: &Subject) {
    let reactor = subject.reactor();
    let ((port, script), speaker) = (member(&reactor, "0.0.0.0:0"), speaker(&reactor, "0.0.0.0:0", "lo"));
    port.join_group(ip(GROUP), "lo").expect("a group");
    let to = at(GROUP, &port);
    speaker.write_to(b"on lo", &to).expect("a route");
    speaker.set_outgoing_interface("").expect("any");
    speaker.write_to(b"by the default route", &to).expect("a route");
    let chosen = Outgoing { interface: 1, ..Outgoing::to(b"on lo once", &to) };
    assert!(matches!(speaker.send(&[chosen]), (1, Ok(()))));
    iterate_until(&reactor, script.has(2));
    assert_eq!(script.received(), [&b"on lo"[..], b"on lo once"]);
    let error = speaker.set_outgoing_interface("no such interface").expect_err("no interface");
    assert!(error.to_string().contains("'no such interface'"), "{error}");
}

pub(super) fn reach_of_a_group(subject: &Subject) {
    for (wildcard, group) in [("0.0.0.0:0", GROUP), ("[::]:0", GROUP_V6)] {
        let reactor = subject.reactor();
        let ((port, script), speaker) = (member(&reactor, wildcard), speaker(&reactor, wildcard, "v0"));
        port.join_group(ip(group), "v0").expect("a group");
        assert_eq!((speaker.ttl().expect("an open port"), speaker.loopback_mode().expect("an open port")), (1, true));
        speaker.set_ttl(7).expect("a number");
        speaker.set_loopback_mode(false).expect("an open port");
        assert_eq!((speaker.ttl().expect("an open port"), speaker.loopback_mode().expect("an open port")), (7, false));
        speaker.write_to(b"not for this machine", &at(group, &port)).expect("a route");
        settle(&reactor);
        speaker.set_loopback_mode(true).expect("an open port");
        speaker.write_to(b"for this machine", &at(group, &port)).expect("a route");
        iterate_until(&reactor, script.has(1));
        assert_eq!(script.received(), [b"for this machine"]);
    }
}

pub(super) fn broadcast(subject: &Subject) {
    let (reactor, script) = (subject.reactor(), DatagramScript::new());
    let port = reactor.listen_udp("0.0.0.0:0", script.clone()).expect("a port");
    let sender = reactor.listen_udp("127.0.0.1:0", DatagramScript::new()).expect("a port");
    let everyone = at("127.255.255.255", &port);
    let Err(Error::Io(_, cause)) = sender.write_to(b"forbidden", &everyone) else { panic!("it was allowed") };
    assert_eq!(cause.kind(), ErrorKind::PermissionDenied);
    sender.set_broadcast_allowed(true).expect("an open port");
    sender.write_to(b"to everyone", &everyone).expect("it is allowed");
    iterate_until(&reactor, script.has(1));
    assert_eq!(script.received(), [b"to everyone"]);
    sender.set_broadcast_allowed(false).expect("an open port");
    sender.write_to(b"forbidden", &everyone).expect_err("it is forbidden again");
}

pub(super) fn trains_beyond_the_packet_size(subject: &Subject) {
    let (reactor, script) = (subject.reactor(), DatagramScript::new());
    let binding = UdpBinding::try_from("127.0.0.1:0").expect("an address").receive_buffer(2 << 20);
    let port = reactor.listen_udp(binding, script.clone()).expect("a port");
    let sender = reactor.listen_udp("127.0.0.1:0", DatagramScript::new()).expect("a port");
    let to = port.host();
    for (length, expected) in [(2000, 30), (1200, 60), (2000, 90)] {
        let contents: Vec<_> = (0..30_u8).map(|number| vec![number; length]).collect();
        let batch: Vec<_> = contents.iter().map(|content| Outgoing::to(content, &to)).collect();
        let (sent, outcome) = sender.send(&batch);
        assert!(outcome.is_ok() && sent == 30, "{sent} {outcome:?}");
        iterate_until(&reactor, script.has(expected));
        assert_eq!(script.received()[expected - 30..], contents);
    }
    assert_eq!(script.received().len(), 90);
    // Trains of shorter datagrams still leave.
    assert!(sender.max_segments() > 1);
}

pub(super) fn probes(subject: &Subject) {
    let (reactor, script) = (subject.reactor(), DatagramScript::new());
    let port = reactor.listen_udp("127.0.0.1:0", script.clone()).expect("a port");
    let sender = reactor.listen_udp("127.0.0.1:0", DatagramScript::new()).expect("a port");
    sender.write_to(&[1; 2000], &port.host()).expect("fragments");
    sender.set_mtu_probing(true).expect("this is Linux");
    let error = sender.write_to(&[2; 2000], &port.host()).expect_err("no fragments");
    assert!(matches!(error, Error::MessageLength(2000, _)), "{error:?}");
    sender.write_to(&[3; 1400], &port.host()).expect("it fits");
    iterate_until(&reactor, script.has(2));
    assert_eq!(script.received().iter().map(Vec::len).collect::<Vec<_>>(), [2000, 1400]);
    reactor.iterate(Some(Duration::ZERO)).expect("a turn");
    assert!(sender.is_listening());
}
