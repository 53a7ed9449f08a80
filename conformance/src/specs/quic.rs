//! QUIC over datagram ports. The protocol is quinn-proto, so every expectation of a real user of the ports is met.

use ropewalk::Reactor;

use crate::datagram_script::DatagramScript;
use crate::transfer::Transfers;
use crate::{run, specifications};

const MEGABYTE: usize = 1_000_000;

/// Sends `bytes` bytes from one port of `reactor` to another.
fn transfer(reactor: &Reactor, bytes: usize) -> Transfers {
    let transfers = Transfers::open(reactor, "127.0.0.1:0", "127.0.0.1:0", 7);
    transfers.begin(transfers.server_address(), bytes);
    run(reactor);
    assert!(transfers.outcomes()[0].is_whole);
    transfers
}

specifications! { quic;
    fn a_transfer_arrives_whole(subject: &Subject) {
        // RFC 9000. Every byte is compared.
        transfer(&subject.reactor(), 4 * MEGABYTE);
    }

    fn a_hundred_megabytes_arrive_whole(subject: &Subject) {
        // The windows, the congestion controller and the pacing timer have time to settle.
        transfer(&subject.reactor(), 100 * MEGABYTE);
    }

    fn a_client_finds_the_mtu_of_the_path(subject: &Subject) {
        // RFC 8899: without fragments on the way, the largest probe of quinn-proto arrives.
        let path = transfer(&subject.reactor(), 10 * MEGABYTE).outcomes()[0].client.path;
        // A system that drops many datagrams looks like a path that got narrower.
        assert!(path.current_mtu == 1452 || path.black_holes_detected > 0, "{path:?}");
    }

    fn datagrams_leave_as_trains(subject: &Subject) {
        // UDP_SEGMENT, where the system has it.
        let reactor = subject.reactor();
        let plain = reactor.listen_udp("127.0.0.1:0", DatagramScript::new()).unwrap();
        let has_trains = plain.max_segments() > 1;
        let sent = transfer(&reactor, 4 * MEGABYTE).outcomes()[0].client.udp_tx;
        assert_eq!(sent.datagrams > 2 * sent.ios, has_trains, "{sent:?}");
    }

    fn every_datagram_has_a_mark(subject: &Subject) {
        // RFC 9000, section 13.4: ECT(0) in both directions, and seen by the receiver.
        let (reactor, tap) = subject.tapped();
        transfer(&reactor, 4 * MEGABYTE);
        let noted = tap.noted();
        for (socket, is_sent) in [(0, true), (0, false), (1, true), (1, false)] {
            let marks = noted.iter().filter(|datagram| (datagram.socket, datagram.is_sent) == (socket, is_sent));
            let marks = Vec::from_iter(marks.map(|datagram| datagram.ecn));
            assert!(marks.len() > 20 && marks.iter().all(|mark| *mark == 2), "{socket} {is_sent} {marks:?}");
        }
    }

    fn a_wildcard_server_answers_from_the_asked_address(subject: &Subject) {
        // RFC 9000, section 9: a client drops datagrams of another address.
        for (wildcard, client) in [("0.0.0.0:0", "0.0.0.0:0"), ("[::]:0", "0.0.0.0:0"), ("[::]:0", "[::]:0")] {
            let reactor = subject.reactor();
            let transfers = Transfers::open(&reactor, wildcard, client, 7);
            let mut asked = transfers.server_address();
            asked.set_ip("127.0.0.2".parse().unwrap());
            transfers.begin(asked, 100_000);
            run(&reactor);
            assert!(transfers.outcomes()[0].is_whole, "{wildcard} {client}");
        }
    }

    fn many_connections_share_two_ports(subject: &Subject) {
        // One delayed call serves all of them.
        let reactor = subject.reactor();
        let transfers = Transfers::open(&reactor, "127.0.0.1:0", "127.0.0.1:0", 7);
        (0..50).for_each(|number| transfers.begin(transfers.server_address(), 10_000 * number + 1));
        run(&reactor);
        assert_eq!(transfers.outcomes().iter().filter(|outcome| outcome.is_whole).count(), 50);
    }

    fn a_transfer_survives_full_buffers(subject: &Subject) {
        // `ready_to_send` continues a train that the system has taken in part.
        let (reactor, tap) = subject.tapped();
        tap.set_room(7);
        transfer(&reactor, 2 * MEGABYTE);
        assert!(tap.refusals() > 20, "{}", tap.refusals());
    }
}
