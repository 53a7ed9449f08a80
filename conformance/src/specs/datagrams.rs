//! IReactorUDP between ports of one reactor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::sys::Outgoing;
use ropewalk::{Address, DatagramPort, DatagramProtocol, Datagrams, Error, Reactor, UdpBinding};
#[cfg(unix)]
use rustix::io::Errno;

use crate::datagram_script::DatagramScript;
use crate::script::{Log, stop};
use crate::waiting::iterate_until;
use crate::{run, specifications};

const ANYWHERE: &str = "127.0.0.1:0";

fn listen(reactor: &Reactor, script: &DatagramScript) -> DatagramPort {
    reactor.listen_udp(ANYWHERE, script.clone()).unwrap()
}

/// Returns two ports that collect, and their scripts.
fn pair(reactor: &Reactor) -> [(DatagramPort, DatagramScript); 2] {
    [(); 2].map(|()| {
        let script = DatagramScript::new();
        (listen(reactor, &script), script)
    })
}

/// An address at which no port is.
fn nowhere(reactor: &Reactor) -> Address {
    let port = listen(reactor, &DatagramScript::new());
    let address = port.host();
    let closed = port.stop_listening();
    iterate_until(reactor, || closed.is_done());
    address
}

/// Pauses and resumes at its first batch, before it takes a datagram.
struct Wavering(Rc<RefCell<Vec<u8>>>, Cell<bool>);

impl DatagramProtocol for Wavering {
    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        if self.1.replace(false) {
            port.pause_producing();
            port.resume_producing();
        }
        self.0.borrow_mut().extend(batch.map(|datagram| datagram.data[0]));
    }
}

/// The number of datagrams after which a port takes several at once.
const FILLING: usize = 40;

/// Sends datagrams, so that the port takes those behind them together.
fn fill(sender: &DatagramPort, port: &DatagramPort) {
    for _ in 0..FILLING {
        sender.write_to(b"x", &port.host()).unwrap();
    }
}

specifications! { datagrams;
    fn a_datagram_arrives_whole_from_its_sender(subject: &Subject) {
        // IUDPTransport.write; DatagramProtocol.datagramReceived.
        let reactor = subject.reactor();
        let [(one, _), (other, script)] = pair(&reactor);
        for length in [1, 10, 1472, 8192] {
            one.write_to(&vec![7; length], &other.host()).unwrap();
        }
        iterate_until(&reactor, script.has(4));
        assert_eq!(script.received().iter().map(Vec::len).collect::<Vec<_>>(), [1, 10, 1472, 8192]);
        assert_eq!(script.senders(), vec![one.host(); 4]);
    }

    fn an_answer_written_in_the_callback_arrives(subject: &Subject) {
        // The pattern of every server.
        let reactor = subject.reactor();
        let (server, client) = (listen(&reactor, &DatagramScript::echo()), DatagramScript::new());
        let port = listen(&reactor, &client);
        for number in 0..100_u8 {
            port.write_to(&[number], &server.host()).unwrap();
        }
        iterate_until(&reactor, client.has(100));
        assert_eq!(client.received(), (0..100).map(|number| vec![number]).collect::<Vec<_>>());
    }

    fn the_protocol_starts_first_then_stops_last(subject: &Subject) {
        // DatagramProtocol.doStart, doStop.
        let (reactor, log) = (subject.reactor(), Log::new());
        let script = DatagramScript::new().logged(&log, "port").on_started(|port| port.write_to(b"x", &port.host()).unwrap());
        let port = listen(&reactor, &script);
        log.expect(&["port started"]);
        iterate_until(&reactor, script.has(1));
        let closed = port.stop_listening();
        let seen = log.clone();
        drop(closed.add_callback(move |()| seen.add("closed")));
        assert!(!port.is_listening());
        log.expect(&["port started", "port data x"]);
        let done = log.clone();
        iterate_until(&reactor, move || done.contains("closed"));
        log.expect(&["port started", "port data x", "port stopped", "closed"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn stopping_a_stopped_port_fires_at_once(subject: &Subject) {
        // IListeningPort.stopListening.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = listen(&reactor, &DatagramScript::new().logged(&log, "port"));
        let (first, second) = (port.stop_listening(), port.stop_listening());
        iterate_until(&reactor, || first.is_done());
        assert!(second.is_done() && port.stop_listening().is_done());
        log.expect(&["port started", "port stopped"]);
        assert!(matches!(port.write_to(b"x", &port.host()), Err(Error::Closed)));
        assert!(matches!(port.send(&[]), (0, Err(Error::Closed))));
    }

    fn the_number_of_a_stopped_port_is_free(subject: &Subject) {
        // The Deferred fires when the socket is closed.
        let reactor = subject.reactor();
        let port = listen(&reactor, &DatagramScript::new());
        let closed = port.stop_listening();
        iterate_until(&reactor, || closed.is_done());
        reactor.listen_udp(port.host().inet().unwrap(), DatagramScript::new()).unwrap();
    }

    fn the_end_of_the_run_stops_ports(subject: &Subject) {
        // ReactorBase.disconnectAll.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = listen(&reactor, &DatagramScript::new().logged(&log, "port"));
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        log.expect(&["port started", "port stopped"]);
        assert!(!port.is_listening() && port.stop_listening().is_done());
    }

    fn a_dropped_reactor_calls_no_protocol(subject: &Subject) {
        // Handles may outlive the reactor.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = listen(&reactor, &DatagramScript::new().logged(&log, "port"));
        drop(reactor);
        assert!(matches!(port.write_to(b"x", &port.host()), Err(Error::Closed)));
        assert!(!port.is_listening() && port.stop_listening().is_done());
        log.expect(&["port started"]);
    }

    fn an_empty_datagram_is_delivered(subject: &Subject) {
        // U4: an empty datagram is no end of file.
        let reactor = subject.reactor();
        let [(one, _), (other, script)] = pair(&reactor);
        for data in [&b""[..], b"x", b"", b""] {
            one.write_to(data, &other.host()).unwrap();
        }
        iterate_until(&reactor, script.has(4));
        assert_eq!(script.received(), [&b""[..], b"x", b"", b""]);
        assert!(other.is_listening());
    }

    fn empty_datagrams_survive_between_others_in_one_batch(subject: &Subject) {
        // udp(7), UDP_SEGMENT: the kernel would leave an empty last part out.
        let reactor = subject.reactor();
        let [(one, _), (other, script)] = pair(&reactor);
        let to = other.host();
        let batch = [3, 3, 0, 3, 3, 1, 0, 0].map(|length| Outgoing::to(&[7; 3][..length], &to));
        assert!(matches!(one.send(&batch), (8, Ok(()))));
        iterate_until(&reactor, script.has(8));
        assert_eq!(script.received().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 0, 3, 3, 1, 0, 0]);
    }

    fn a_datagram_beyond_the_maximum_is_dropped(subject: &Subject) {
        // U3: never handed over as if it were whole.
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let binding = UdpBinding::try_from(ANYWHERE).unwrap().max_packet_size(100);
        let port = reactor.listen_udp(binding, script.clone()).unwrap();
        let sender = listen(&reactor, &DatagramScript::new());
        for length in [100, 101, 100, 9000, 5] {
            sender.write_to(&vec![7; length], &port.host()).unwrap();
        }
        iterate_until(&reactor, script.has(3));
        assert_eq!(script.received().iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 5]);
        assert_eq!((port.counters().received, port.counters().cut), (3, 2));
    }

    fn datagrams_behind_a_stop_are_not_counted(subject: &Subject) {
        // DatagramCounters::received counts what was delivered. A port takes several datagrams at once.
        let reactor = subject.reactor();
        let script = DatagramScript::new().on_data(|port, datagram| {
            if datagram.data == b"stop" {
                drop(port.stop_listening());
            }
        });
        let (port, sender) = (listen(&reactor, &script), listen(&reactor, &DatagramScript::new()));
        fill(&sender, &port);
        for content in [&b"stop"[..], b"behind", b"behind"] {
            sender.write_to(content, &port.host()).unwrap();
        }
        iterate_until(&reactor, || !port.is_listening());
        assert_eq!((port.counters().received, script.received().len()), (FILLING as u64 + 1, FILLING + 1));
    }

    fn a_maximum_of_zero_is_refused(subject: &Subject) {
        // DatagramSpec::check.
        let reactor = subject.reactor();
        for most in [0, 65_537] {
            let binding = UdpBinding::try_from(ANYWHERE).unwrap().max_packet_size(most);
            let error = reactor.listen_udp(binding, DatagramScript::new()).unwrap_err();
            assert!(matches!(error, Error::CannotListen(..)), "{error}");
        }
    }

    fn datagrams_keep_their_order_in_both_ways_of_sending(subject: &Subject) {
        // Datagrams written in a callback precede those that the same callback sends at once.
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let port = listen(&reactor, &script);
        let to = port.host();
        let sender = DatagramScript::new().on_started(move |port| {
            port.write_to(b"1", &to).unwrap();
            port.write_to(b"2", &to).unwrap();
            assert!(matches!(port.send(&[Outgoing::to(b"3", &to)]), (1, Ok(()))));
            port.write_to(b"4", &to).unwrap();
        });
        listen(&reactor, &sender);
        iterate_until(&reactor, script.has(4));
        assert_eq!(script.received(), [b"1", b"2", b"3", b"4"]);
    }

    fn more_datagrams_than_a_batch_leave_a_callback(subject: &Subject) {
        // The outbox of a callback is bounded, and the callback is not.
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let binding = UdpBinding::try_from(ANYWHERE).unwrap().receive_buffer(1 << 20);
        let port = reactor.listen_udp(binding, script.clone()).unwrap();
        let to = port.host();
        let sender = DatagramScript::new().on_started(move |port| {
            (0..200_u8).for_each(|number| port.write_to(&[number; 3], &to).unwrap());
        });
        let sender = listen(&reactor, &sender);
        iterate_until(&reactor, script.has(200));
        assert_eq!(script.received(), (0..200).map(|number| vec![number; 3]).collect::<Vec<_>>());
        assert_eq!((sender.counters().sent, sender.counters().unsent), (200, 0));
    }

    fn a_bad_datagram_in_a_batch_spares_the_others(subject: &Subject) {
        // U5: the error names the second.
        let reactor = subject.reactor();
        let [(one, _), (other, script)] = pair(&reactor);
        let (to, long) = (other.host(), vec![0; 70_000]);
        let batch = [Outgoing::to(b"good", &to), Outgoing::to(&long, &to), Outgoing::to(b"too", &to)];
        let (sent, outcome) = one.send(&batch);
        assert_eq!(sent, 1);
        assert!(matches!(outcome, Err(Error::MessageLength(70_000, _))));
        assert!(matches!(one.send(&batch[2..]), (1, Ok(()))));
        iterate_until(&reactor, script.has(2));
        assert_eq!(script.received(), [&b"good"[..], b"too"]);
    }

    fn a_bad_datagram_of_a_callback_is_reported(subject: &Subject) {
        // U5: a send error belongs to the datagram.
        let (reactor, script, log) = (subject.reactor(), DatagramScript::new(), Log::new());
        let port = listen(&reactor, &script);
        let to = port.host();
        let expected = format!("sender failed {to} MessageLength");
        let other: Address = "[::1]:9".parse::<std::net::SocketAddr>().unwrap().into();
        let sender = DatagramScript::new().logged(&log, "sender").on_started(move |port| {
            port.write_to(b"good", &to).unwrap();
            port.write_to(&vec![0; 70_000], &to).unwrap();
            port.write_to(b"of another family", &other).unwrap();
            port.write_to(b"too", &to).unwrap();
        });
        listen(&reactor, &sender);
        iterate_until(&reactor, script.has(2));
        assert_eq!(script.received(), [&b"good"[..], b"too"]);
        log.expect(&["sender started", &expected, "sender failed [::1]:9 WrongFamily"]);
    }

    #[cfg(unix)]
    fn a_datagram_without_memory_is_counted_alone(subject: &Subject) {
        // U6: ENOBUFS, ENOMEM. The datagram is dropped, and the port neither closes nor waits for room.
        let reactor = subject.failing_sends(|content| match content {
            b"no buffers" => Some(Errno::NOBUFS.into()),
            b"no memory" => Some(Errno::NOMEM.into()),
            _ => None,
        });
        let (script, log) = (DatagramScript::new(), Log::new());
        let port = listen(&reactor, &script);
        let to = port.host();
        let sender = DatagramScript::new().logged(&log, "sender").on_started(move |port| {
            for content in [&b"1"[..], b"no buffers", b"2", b"no memory", b"no memory", b"3"] {
                port.write_to(content, &to).unwrap();
            }
        });
        let sender = listen(&reactor, &sender);
        iterate_until(&reactor, script.has(3));
        assert_eq!(script.received(), [b"1", b"2", b"3"]);
        assert_eq!((sender.counters().sent, sender.counters().unsent), (3, 3));
        for step in 1..=10 {
            reactor.call_later(Duration::from_millis(5 * step), |_| ());
        }
        reactor.call_later(Duration::from_millis(55), stop);
        assert!(crate::count_turns(&reactor) < 40);
        log.expect(&["sender started", "sender stopped"]);
    }

    #[cfg(unix)]
    fn a_send_without_memory_returns_its_error(subject: &Subject) {
        // U6, outside of a callback: the caller decides.
        let reactor = subject.failing_sends(|content| (content == b"bad").then(|| Errno::NOBUFS.into()));
        let [(one, _), (other, script)] = pair(&reactor);
        let to = other.host();
        let error = one.write_to(b"bad", &to).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOBUFS.raw_os_error()));
        let (sent, outcome) = one.send(&[b"1".as_slice(), b"bad", b"2"].map(|content| Outgoing::to(content, &to)));
        assert_eq!((sent, outcome.unwrap_err().raw_os_error()), (1, Some(Errno::NOBUFS.raw_os_error())));
        one.write_to(b"2", &to).unwrap();
        iterate_until(&reactor, script.has(2));
        assert_eq!(script.received(), [b"1", b"2"]);
    }

    #[cfg(unix)]
    fn a_unix_port_has_no_groups(subject: &Subject) {
        // Groups are addresses of IP. The options of groups are those of ip(7).
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let port = reactor.listen_unix_datagram(&path, DatagramScript::new()).unwrap();
        for group in ["239.1.2.3", "ff02::1:5"] {
            for outcome in [port.join_group(group.parse().unwrap(), 0), port.leave_group(group.parse().unwrap(), 0)] {
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::WrongFamily(..)), "{error:?}");
            }
        }
        let no_group = port.join_group("10.0.0.1".parse().unwrap(), 0).unwrap_err();
        let is_invalid = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::InvalidInput;
        assert!(matches!(&no_group, Error::MulticastJoin(_, cause) if is_invalid(cause)), "{no_group:?}");
        let set = [port.set_ttl(2), port.set_loopback_mode(false), port.set_outgoing_interface(1), port.set_mtu_probing(true)];
        let asked = [
            port.ttl().map(drop), port.loopback_mode().map(drop), port.outgoing_interface().map(drop),
            port.mtu_probing().map(drop),
        ];
        for outcome in set.into_iter().chain(asked) {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::Io(_, cause) if is_invalid(cause)), "{error:?}");
        }
        port.set_broadcast_allowed(true).unwrap();
        port.set_receive_buffer(50_000).unwrap();
        assert!(port.receive_buffer().unwrap() >= 50_000);
        let closed = port.stop_listening();
        iterate_until(&reactor, || closed.is_done());
    }

    fn an_unknown_outgoing_interface_is_an_error(subject: &Subject) {
        // IMulticastTransport.setOutgoingInterface; IP_MULTICAST_IF of ip(7).
        let reactor = subject.reactor();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let port = reactor.listen_udp(address, DatagramScript::new()).unwrap();
            port.set_outgoing_interface(1).unwrap();
            for unknown in [12_345, u32::MAX] {
                let error = port.set_outgoing_interface(unknown).unwrap_err();
                assert!(matches!(error, Error::Io(..)), "{error:?}");
            }
            assert_eq!(port.outgoing_interface().unwrap(), 1);
        }
    }

    fn a_datagram_for_an_unknown_interface_is_an_error(subject: &Subject) {
        // IP_PKTINFO of ip(7).
        let reactor = subject.reactor();
        let [(sender, _), (port, script)] = pair(&reactor);
        let to = port.host();
        let datagram = |interface| Outgoing { interface, ..Outgoing::to(b"x", &to) };
        let (sent, outcome) = sender.send(&[datagram(0), datagram(12_345)]);
        assert!(sent == 1 && matches!(outcome, Err(Error::Io(..))), "{sent}: {outcome:?}");
        iterate_until(&reactor, script.has(1));
        assert_eq!(sender.counters().sent, 1);
    }

    fn an_address_of_another_family_is_an_error(subject: &Subject) {
        // U7: an error that names the family, and no datagram.
        let reactor = subject.reactor();
        let v4 = listen(&reactor, &DatagramScript::new());
        let v6 = reactor.listen_udp("[::1]:0", DatagramScript::new()).unwrap();
        let only_v6 = UdpBinding::try_from("[::]:0").unwrap().v6_only();
        let only_v6 = reactor.listen_udp(only_v6, DatagramScript::new()).unwrap();
        for (port, to) in [(&v4, v6.host()), (&v6, v4.host()), (&only_v6, v4.host())] {
            let error = port.write_to(b"x", &to).unwrap_err();
            assert!(matches!(error, Error::WrongFamily(..)) && error.to_string().contains("family"), "{error}");
            assert_eq!(port.counters().sent, 0);
            assert!(matches!(port.connect(&to), Err(Error::WrongFamily(..))));
        }
        let unnamed = v4.write_to(b"x", &Address::Unnamed).unwrap_err();
        assert!(matches!(unnamed, Error::WrongFamily(..)), "{unnamed}");
    }

    fn a_port_of_both_families_shows_plain_addresses(subject: &Subject) {
        // U7: an IPv4 client of a port on [::].
        let (reactor, client) = (subject.reactor(), DatagramScript::new());
        let server = reactor.listen_udp(":0", DatagramScript::echo()).unwrap();
        let number = server.host().inet().unwrap().port();
        let port = listen(&reactor, &client);
        let v6 = reactor.listen_udp("[::1]:0", client.clone()).unwrap();
        port.write_to(b"over IPv4", &std::net::SocketAddr::from(([127, 0, 0, 1], number)).into()).unwrap();
        v6.write_to(b"over IPv6", &format!("[::1]:{number}").parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        iterate_until(&reactor, client.has(2));
        let mut senders: Vec<_> = client.senders().iter().map(|sender| format!("{:?}", sender.inet().unwrap())).collect();
        senders.sort();
        assert_eq!(senders, [format!("127.0.0.1:{number}"), format!("[::1]:{number}")]);
    }

    fn a_mapped_address_may_be_written_to(subject: &Subject) {
        // U7: the address as other sockets may show it.
        let (reactor, client) = (subject.reactor(), DatagramScript::new());
        let both = reactor.listen_udp(":0", DatagramScript::new()).unwrap();
        let port = listen(&reactor, &client);
        let number = port.host().inet().unwrap().port();
        let mapped: Address = format!("[::ffff:127.0.0.1]:{number}").parse::<std::net::SocketAddr>().unwrap().into();
        both.write_to(b"mapped", &mapped).unwrap();
        port.write_to(b"from an IPv4 port", &mapped).unwrap();
        iterate_until(&reactor, client.has(2));
    }

    fn a_connected_port_receives_only_from_its_peer(subject: &Subject) {
        // IUDPTransport.connect.
        let reactor = subject.reactor();
        let [(one, script), (peer, _)] = pair(&reactor);
        let stranger = listen(&reactor, &DatagramScript::new());
        one.connect(&peer.host()).unwrap();
        assert_eq!(one.peer(), Some(peer.host()));
        stranger.write_to(b"from a stranger", &one.host()).unwrap();
        peer.write_to(b"from the peer", &one.host()).unwrap();
        iterate_until(&reactor, script.has(1));
        assert_eq!(script.received(), [b"from the peer"]);
    }

    fn a_connected_port_writes_without_a_destination(subject: &Subject) {
        // IUDPTransport.write: `addr` unset or equal.
        let (reactor, server) = (subject.reactor(), DatagramScript::new());
        let port = listen(&reactor, &server);
        let peer = port.host().inet().unwrap();
        let client = UdpBinding::try_from(ANYWHERE).unwrap().connect(peer);
        let client = reactor.listen_udp(client, DatagramScript::new()).unwrap();
        client.write(b"1").unwrap();
        client.write_to(b"2", &port.host()).unwrap();
        iterate_until(&reactor, server.has(2));
        assert_eq!(server.received(), [b"1", b"2"]);
        assert_eq!(server.senders(), [client.host(), client.host()]);
        let error = client.write_to(b"3", &client.host()).unwrap_err();
        assert!(matches!(error, Error::InvalidAddress(..)), "{error}");
        assert!(matches!(client.connect(&port.host()), Err(Error::AlreadyConnected)));
    }

    fn a_write_without_peer_or_destination_is_an_error(subject: &Subject) {
        // sendmsg(2): EDESTADDRREQ.
        let reactor = subject.reactor();
        let error = listen(&reactor, &DatagramScript::new()).write(b"x").unwrap_err();
        assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == std::io::ErrorKind::NotConnected), "{error}");
    }

    fn a_refusal_leaves_the_port_open(subject: &Subject) {
        // U2; CONTRACT: `connection_refused` on every provider.
        let (reactor, log) = (subject.reactor(), Log::new());
        let peer = nowhere(&reactor);
        let port = listen(&reactor, &DatagramScript::new().logged(&log, "port"));
        port.connect(&peer).unwrap();
        port.write(b"1").unwrap();
        let seen = log.clone();
        iterate_until(&reactor, move || seen.contains("port refused"));
        log.expect(&["port started", "port refused"]);
        let server = DatagramScript::new();
        reactor.listen_udp(peer.inet().unwrap(), server.clone()).unwrap();
        port.write(b"2").unwrap();
        iterate_until(&reactor, server.has(1));
        log.expect(&["port started", "port refused"]);
    }

    fn a_port_without_a_peer_ignores_refusals(subject: &Subject) {
        // U1: an answer to a client that is gone harms no other client.
        let (reactor, log) = (subject.reactor(), Log::new());
        let gone = nowhere(&reactor);
        let [(client, script), (stranger, _)] = pair(&reactor);
        let server = DatagramScript::new().logged(&log, "server");
        let port = listen(&reactor, &server);
        for _ in 0..3 {
            port.write_to(b"to a closed port", &gone).unwrap();
            port.write_to(b"to a client", &client.host()).unwrap();
        }
        iterate_until(&reactor, script.has(3));
        stranger.write_to(b"x", &port.host()).unwrap();
        iterate_until(&reactor, server.has(1));
        log.expect(&["server started", "server data x"]);
        assert_eq!((port.counters().sent, port.counters().unsent), (6, 0));
    }

    fn a_second_port_with_the_same_number_is_refused(subject: &Subject) {
        // U12: SO_REUSEADDR would let the last one take everything.
        let reactor = subject.reactor();
        let port = listen(&reactor, &DatagramScript::new());
        let error = reactor.listen_udp(port.host().inet().unwrap(), DatagramScript::new()).unwrap_err();
        assert!(matches!(&error, Error::CannotListen(_, cause) if cause.kind() == std::io::ErrorKind::AddrInUse), "{error}");
    }

    fn a_shared_number_may_be_bound_twice(subject: &Subject) {
        // IReactorMulticast.listenMulticast(listenMultiple=True).
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let first = UdpBinding::try_from(ANYWHERE).unwrap().shared();
        let first = reactor.listen_udp(first, script.clone()).unwrap();
        let same = UdpBinding::from(first.host().inet().unwrap());
        reactor.listen_udp(same.clone().shared(), script.clone()).unwrap();
        reactor.listen_udp(same, script.clone()).unwrap_err();
        for _ in 0..8 {
            listen(&reactor, &DatagramScript::new()).write_to(b"x", &first.host()).unwrap();
        }
        iterate_until(&reactor, script.has(8));
    }

    fn a_panic_spares_the_datagrams_behind_it(subject: &Subject) {
        // CONTRACT 57: exceptions in datagramReceived are logged, the port stays.
        let reactor = subject.plain_reactor();
        let script = DatagramScript::new().on_data(|_, datagram| assert_ne!(datagram.data, b"bad", "expected"));
        let port = listen(&reactor, &script);
        let sender = listen(&reactor, &DatagramScript::new());
        fill(&sender, &port);
        for data in [&b"1"[..], b"bad", b"bad", b"2", b"bad"] {
            sender.write_to(data, &port.host()).unwrap();
        }
        iterate_until(&reactor, script.has(FILLING + 5));
        assert_eq!(script.received()[FILLING..], [&b"1"[..], b"bad", b"bad", b"2", b"bad"]);
        assert_eq!(port.counters().received, FILLING as u64 + 5);
        assert!(port.is_listening());
    }

    fn no_datagram_follows_a_stop_in_the_callback(subject: &Subject) {
        // CONTRACT 57: stopListening in the handler stops the loop.
        let (reactor, log) = (subject.reactor(), Log::new());
        let script = DatagramScript::new().logged(&log, "port").on_data(|port, datagram| {
            if datagram.data == b"1" {
                drop(port.stop_listening());
            }
        });
        let port = listen(&reactor, &script);
        let sender = listen(&reactor, &DatagramScript::new());
        fill(&sender, &port);
        for data in [b"1", b"2", b"3"] {
            sender.write_to(data, &port.host()).unwrap();
        }
        let seen = log.clone();
        iterate_until(&reactor, move || seen.contains("port stopped"));
        assert_eq!(log.entries()[FILLING..], ["port data x", "port data 1", "port stopped"]);
        assert_eq!(port.counters().received, FILLING as u64 + 1, "datagrams that follow the stop are not delivered");
    }

    fn a_pause_in_the_callback_keeps_the_rest_of_the_batch(subject: &Subject) {
        // IPushProducer.pauseProducing: nothing is lost.
        let reactor = subject.reactor();
        let is_first = Cell::new(true);
        let script = DatagramScript::new().on_data(move |port, datagram| {
            if datagram.data == b"9" && is_first.replace(false) {
                port.pause_producing();
            }
        });
        let port = listen(&reactor, &script);
        let sender = listen(&reactor, &DatagramScript::new());
        let send = |data: &[u8]| sender.write_to(data, &port.host()).unwrap();
        fill(&sender, &port);
        send(b"9");
        for data in [b"1", b"2", b"3", b"4", b"5"] {
            send(data);
        }
        iterate_until(&reactor, script.has(FILLING + 1));
        assert_eq!(script.received().len(), FILLING + 1);
        port.resume_producing();
        iterate_until(&reactor, script.has(FILLING + 6));
        assert_eq!(script.received()[FILLING + 1..], [b"1", b"2", b"3", b"4", b"5"]);
        assert_eq!(port.counters().received, FILLING as u64 + 6);
    }

    fn a_pause_that_is_resumed_at_once_loses_nothing(subject: &Subject) {
        // The callback takes nothing of its batch. The port delivers the batch again, in a later turn.
        let reactor = subject.reactor();
        let taken = Rc::new(RefCell::new(Vec::new()));
        let port = reactor.listen_udp(ANYWHERE, Wavering(taken.clone(), Cell::new(true))).unwrap();
        let sender = listen(&reactor, &DatagramScript::new());
        for number in 0..5_u8 {
            sender.write_to(&[number], &port.host()).unwrap();
        }
        iterate_until(&reactor, { let taken = taken.clone(); move || taken.borrow().len() == 5 });
        assert_eq!(*taken.borrow(), [0, 1, 2, 3, 4]);
    }

    fn a_paused_port_receives_after_it_resumes(subject: &Subject) {
        // U14, without a ring of buffers.
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let port = listen(&reactor, &script);
        port.pause_producing();
        let sender = listen(&reactor, &DatagramScript::new());
        for number in 0..100_u8 {
            sender.write_to(&[number; 20], &port.host()).unwrap();
        }
        sender.write_to(&[0; 9000], &port.host()).unwrap();
        iterate_until(&reactor, || true);
        assert_eq!(script.received().len(), 0);
        port.resume_producing();
        iterate_until(&reactor, script.has(100));
        assert_eq!(script.received(), (0..100).map(|number| vec![number; 20]).collect::<Vec<_>>());
        assert_eq!(port.counters().cut, 1);
    }

    fn a_callback_that_runs_the_loop_is_not_called_again(subject: &Subject) {
        // No callback runs while another one of the same protocol is on the stack.
        let (reactor, depth, log) = (subject.reactor(), Rc::new(Cell::new(0)), Log::new());
        let (inside, turns) = (depth.clone(), reactor.clone());
        let script = DatagramScript::new().logged(&log, "port").on_data(move |_, datagram| {
            inside.set(inside.get() + 1);
            assert_eq!(inside.get(), 1);
            if datagram.data == b"1" {
                (0..3).for_each(|_| turns.iterate(Some(Duration::from_millis(2))).unwrap());
            }
            inside.set(inside.get() - 1);
        });
        let port = listen(&reactor, &script);
        let sender = listen(&reactor, &DatagramScript::new());
        for data in [b"1", b"2", b"3"] {
            sender.write_to(data, &port.host()).unwrap();
        }
        iterate_until(&reactor, script.has(3));
        assert_eq!(script.received(), [b"1", b"2", b"3"]);
    }

    fn a_port_opened_in_a_callback_works(subject: &Subject) {
        // A server may open a port for each client, as TFTP does.
        let (reactor, client) = (subject.reactor(), DatagramScript::new());
        let server = DatagramScript::new().on_data(|port, datagram| {
            let session = port.reactor().listen_udp(ANYWHERE, DatagramScript::echo()).unwrap();
            session.write_to(b"from a port of its own", datagram.from).unwrap();
        });
        let server = listen(&reactor, &server);
        let port = listen(&reactor, &client);
        port.write_to(b"hello", &server.host()).unwrap();
        iterate_until(&reactor, client.has(1));
        assert_ne!(client.senders(), [server.host()]);
        port.write_to(b"again", &client.senders()[0]).unwrap();
        iterate_until(&reactor, client.has(2));
    }

    fn a_batch_may_be_handled_as_a_whole(subject: &Subject) {
        // `datagrams_received` is called instead of `datagram_received`.
        let (reactor, batches) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        let port = reactor.listen_udp(ANYWHERE, Whole(batches.clone())).unwrap();
        let sender = listen(&reactor, &DatagramScript::new());
        for number in 0..60_u8 {
            sender.write_to(&[number], &port.host()).unwrap();
        }
        let seen = batches.clone();
        iterate_until(&reactor, move || seen.borrow().concat().len() >= 60);
        assert_eq!(batches.borrow().concat(), (0..60).collect::<Vec<_>>());
        let longest = batches.borrow().iter().map(Vec::len).max().unwrap();
        assert!((2..=16).contains(&longest), "{:?}", batches.borrow());
    }
}

/// Collects the first bytes of each batch.
struct Whole(Rc<RefCell<Vec<Vec<u8>>>>);

impl ropewalk::DatagramProtocol for Whole {
    fn datagrams_received(&mut self, _port: &DatagramPort, batch: ropewalk::Datagrams<'_>) {
        assert_eq!(batch.clone().count(), batch.size_hint().0);
        self.0.borrow_mut().push(batch.map(|datagram| datagram.data[0]).collect());
    }
}
