//! IReactorUDP against plain sockets, and options of real ones.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::sys::Outgoing;
use ropewalk::{Address, DatagramOptions, DatagramPort, Error, Reactor, UdpBinding};

use crate::datagram_script::DatagramScript;
use crate::script::{Log, stop};
use crate::waiting::{iterate_until, run_until};
use crate::{count_turns, specifications};

/// Returns a plain socket that does not block.
fn plain_socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn listen(reactor: &Reactor, script: &DatagramScript) -> DatagramPort {
    reactor.listen_udp("127.0.0.1:0", script.clone()).unwrap()
}

fn inet(port: &DatagramPort) -> SocketAddr {
    port.host().inet().unwrap()
}

fn send_many(socket: &UdpSocket, count: usize, content: &[u8], to: &DatagramPort) {
    for _ in 0..count {
        socket.send_to(content, inet(to)).unwrap();
    }
}

/// Turns the loop until the socket has a datagram, and returns it.
fn received(reactor: &Reactor, socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2000];
    iterate_until(reactor, || socket.peek(&mut [0; 2000]).is_ok());
    let length = socket.recv(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

/// Sends alike datagrams in one batch, and fails unless each arrives exactly once and in order.
fn all_arrive(sender: &DatagramPort, count: usize, length: usize) {
    let socket = plain_socket("127.0.0.1:0");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2 << 20).unwrap();
    let to = Address::from(socket.local_addr().unwrap());
    let contents: Vec<_> = (0..count).map(|number| vec![number as u8; length]).collect();
    let batch: Vec<_> = contents.iter().map(|content| Outgoing::to(content, &to)).collect();
    let (sent, outcome) = sender.send(&batch);
    assert!(sent == count && outcome.is_ok(), "{sent} of {count} times {length}: {outcome:?}");
    let mut bytes = vec![0; length + 1];
    for content in contents {
        let received = socket.recv(&mut bytes).unwrap();
        assert_eq!(bytes[..received], content);
    }
    assert_eq!(socket.recv(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
}

specifications! { udp_sockets;
    fn a_plain_client_gets_an_echo(subject: &Subject) {
        // A peer that is not this library.
        let (reactor, client) = (subject.reactor(), plain_socket("127.0.0.1:0"));
        let port = listen(&reactor, &DatagramScript::echo());
        client.send_to(b"hello", inet(&port)).unwrap();
        assert_eq!(received(&reactor, &client), b"hello");
    }

    fn alike_datagrams_leave_as_trains(subject: &Subject) {
        // U13: cut before the kernel refuses more than 64 parts or 65,507 bytes.
        let reactor = subject.reactor();
        let sender = listen(&reactor, &DatagramScript::new());
        for (count, length) in [(2, 1200), (64, 100), (65, 100), (130, 700), (90, 1000), (10, 8192), (3, 40_000)] {
            all_arrive(&sender, count, length);
        }
        assert_eq!(sender.counters().sent, 364);
    }

    fn a_bad_destination_leaves_trains_on(subject: &Subject) {
        // udp(7): EINVAL for port 0, which a datagram may claim to come from.
        let reactor = subject.reactor();
        let sender = listen(&reactor, &DatagramScript::new());
        let (before, nowhere) = (sender.max_segments(), Address::from(SocketAddr::from(([127, 0, 0, 1], 0))));
        let (sent, outcome) = sender.send(&[Outgoing::to(b"x", &nowhere); 3]);
        assert!(sent == 0 && outcome.is_err());
        assert_eq!(sender.max_segments(), before);
        all_arrive(&sender, 10, 1);
    }

    fn a_refusal_does_not_keep_the_loop_busy(subject: &Subject) {
        // U2: the event has the error bit alone.
        let (reactor, log) = (subject.reactor(), Log::new());
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let binding = UdpBinding::try_from("127.0.0.1:0").unwrap().connect(gone);
        let port = reactor.listen_udp(binding, DatagramScript::new().logged(&log, "port")).unwrap();
        port.write(b"x").unwrap();
        for step in 1..=10 {
            reactor.call_later(Duration::from_millis(20 * step), |_| ());
        }
        reactor.call_later(Duration::from_millis(220), stop);
        assert!(count_turns(&reactor) < 40);
        log.expect(&["port started", "port refused", "port stopped"]);
    }

    fn a_mapped_peer_is_its_plain_address(subject: &Subject) {
        // U7: datagrams of the peer show its plain address, and an answer to that address is one to the peer.
        let reactor = subject.reactor();
        let server = reactor.listen_udp("127.0.0.1:0", DatagramScript::echo()).unwrap();
        let number = server.host().inet().unwrap().port();
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{number}").parse().unwrap();
        let script = DatagramScript::new();
        let binding = UdpBinding::try_from("[::]:0").unwrap().connect(mapped);
        let port = reactor.listen_udp(binding, script.clone()).unwrap();
        port.write_to(b"x", &mapped.into()).unwrap();
        port.write_to(b"y", &server.host()).unwrap();
        iterate_until(&reactor, script.has(2));
        assert_eq!(script.senders(), vec![server.host(); 2]);
    }

    fn a_paused_port_does_not_keep_the_loop_busy(subject: &Subject) {
        // U14: neither arrivals nor errors wake a loop that does not want them.
        let (reactor, client) = (subject.reactor(), plain_socket("127.0.0.1:0"));
        let port = listen(&reactor, &DatagramScript::new());
        port.pause_producing();
        send_many(&client, 100, b"x", &port);
        for step in 1..=10 {
            reactor.call_later(Duration::from_millis(20 * step), |_| ());
        }
        reactor.call_later(Duration::from_millis(220), stop);
        assert!(count_turns(&reactor) < 40);
        assert_eq!(port.counters().received, 0);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn the_answer_may_leave_from_the_asked_address(subject: &Subject) {
        // U8: a connected client drops an answer from another address.
        for (wildcard, answers) in [("0.0.0.0:0", true), ("0.0.0.0:0", false), ("[::]:0", true), ("[::]:0", false)] {
            let (reactor, client) = (subject.reactor(), plain_socket("127.0.0.1:0"));
            let server = DatagramScript::new().on_data(move |port, datagram| {
                let asked = Some("127.0.0.2".parse().unwrap());
                assert_eq!((datagram.local, datagram.to, datagram.interface), (asked, asked, 1));
                let from = datagram.local.filter(|_| answers);
                port.write_from(b"answer", datagram.from, from).unwrap();
            });
            let binding = UdpBinding::try_from(wildcard).unwrap().details();
            let port = reactor.listen_udp(binding, server.clone()).unwrap();
            client.connect(("127.0.0.2", inet(&port).port())).unwrap();
            client.send(b"question").unwrap();
            iterate_until(&reactor, server.has(1));
            assert_eq!(client.recv(&mut [0; 9]).is_ok(), answers, "{wildcard}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn details_of_ipv6_are_known(subject: &Subject) {
        // ipv6(7): IPV6_RECVPKTINFO, IPV6_RECVTCLASS.
        let (reactor, client) = (subject.reactor(), plain_socket("[::1]:0"));
        let server = DatagramScript::new().on_data(move |port, datagram| {
            assert_eq!((datagram.local, datagram.interface), (Some("::1".parse().unwrap()), 1));
            port.write_from(b"answer", datagram.from, datagram.local).unwrap();
        });
        let binding = UdpBinding::try_from("[::]:0").unwrap().details();
        let port = reactor.listen_udp(binding, server).unwrap();
        client.send_to(b"question", ("::1", inet(&port).port())).unwrap();
        assert_eq!(received(&reactor, &client), b"answer");
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn marks_of_congestion_pass_in_both_directions(subject: &Subject) {
        // RFC 3168; QUIC needs them. On a port of both families IPv4 needs an option of its own.
        for (wildcard, loopback) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let (reactor, marks) = (subject.reactor(), std::rc::Rc::new(std::cell::RefCell::new(Vec::new())));
            let seen = marks.clone();
            let script = DatagramScript::new().on_data(move |_, datagram| seen.borrow_mut().push(datagram.ecn));
            let port = reactor.listen_udp(UdpBinding::try_from(wildcard).unwrap().details(), script.clone()).unwrap();
            let to = Address::from(SocketAddr::new(loopback.parse().unwrap(), inet(&port).port()));
            let batch = [0, 1, 2, 3, 3].map(|ecn| Outgoing { ecn, ..Outgoing::to(b"x", &to) });
            assert!(matches!(port.send(&batch), (5, Ok(()))));
            iterate_until(&reactor, script.has(5));
            assert_eq!(*marks.borrow(), [0, 1, 2, 3, 3], "{wildcard} {loopback}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_source_of_another_family_is_an_error(subject: &Subject) {
        // The check is ours, before the call.
        let reactor = subject.reactor();
        let port = listen(&reactor, &DatagramScript::new());
        let error = port.write_from(b"x", &port.host(), Some("::1".parse().unwrap())).unwrap_err();
        assert!(matches!(error, Error::WrongFamily(..)), "{error}");
    }

    fn an_adopted_socket_is_a_port(subject: &Subject) {
        // IReactorSocket.adoptDatagramPort.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (socket, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), plain_socket("127.0.0.1:0"));
        let address = socket.local_addr().unwrap();
        let script = DatagramScript::new().logged(&log, "port").on_data(|port, datagram| {
            port.write_to(datagram.data, datagram.from).unwrap();
        });
        let port = reactor.adopt_datagram_port(socket, DatagramOptions::default(), script).unwrap();
        assert_eq!((inet(&port), port.peer()), (address, None));
        client.send_to(b"hello", address).unwrap();
        assert_eq!(received(&reactor, &client), b"hello");
        log.expect(&["port started", "port data hello"]);
    }

    fn an_adopted_socket_keeps_its_peer(subject: &Subject) {
        // getpeername(2).
        let (reactor, peer) = (subject.reactor(), plain_socket("127.0.0.1:0"));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let port = reactor.adopt_datagram_port(socket, DatagramOptions::default(), DatagramScript::new()).unwrap();
        assert_eq!(port.peer(), Some(peer.local_addr().unwrap().into()));
        port.write(b"hello").unwrap();
        assert_eq!(received(&reactor, &peer), b"hello");
    }

    fn a_socket_of_another_kind_is_not_adopted(subject: &Subject) {
        // adoptDatagramPort: UnsupportedAddressFamily is for families.
        let reactor = subject.reactor();
        let stream: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        for descriptor in [stream, file] {
            let adopted = reactor.adopt_datagram_port(descriptor, DatagramOptions::default(), DatagramScript::new());
            let error = adopted.unwrap_err();
            assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == ErrorKind::InvalidInput), "{error}");
        }
        assert_eq!(reactor.source_count(), 0);
    }

    fn buffers_have_the_sizes_that_were_asked_for(subject: &Subject) {
        // socket(7): SO_RCVBUF, SO_SNDBUF. Linux doubles the numbers.
        let reactor = subject.reactor();
        let binding = UdpBinding::try_from("127.0.0.1:0").unwrap().receive_buffer(50_000).send_buffer(60_000);
        let port = reactor.listen_udp(binding, DatagramScript::new()).unwrap();
        assert!((50_000..=100_000).contains(&port.receive_buffer().unwrap()));
        assert!((60_000..=120_000).contains(&port.send_buffer().unwrap()));
        port.set_receive_buffer(70_000).unwrap();
        port.set_send_buffer(80_000).unwrap();
        assert!((70_000..=140_000).contains(&port.receive_buffer().unwrap()));
        assert!((80_000..=160_000).contains(&port.send_buffer().unwrap()));
    }

    #[cfg(target_os = "linux")]
    fn datagrams_that_the_system_drops_are_counted(subject: &Subject) {
        // SO_MEMINFO: SK_MEMINFO_DROPS.
        let (reactor, client) = (subject.reactor(), plain_socket("127.0.0.1:0"));
        let binding = UdpBinding::try_from("127.0.0.1:0").unwrap().receive_buffer(10_000);
        let port = reactor.listen_udp(binding, DatagramScript::new()).unwrap();
        assert_eq!(port.counters().dropped, Some(0));
        send_many(&client, 100, &[0; 1000], &port);
        let seen = port.clone();
        iterate_until(&reactor, move || {
            let counters = seen.counters();
            counters.received + counters.dropped.unwrap() == 100
        });
        assert!(port.counters().dropped.unwrap() > 50, "{:?}", port.counters());
    }

    fn the_handle_is_the_socket_of_the_port(subject: &Subject) {
        // ISystemHandle.getHandle.
        let reactor = subject.reactor();
        let port = listen(&reactor, &DatagramScript::new());
        assert!(port.handle().is_some());
        let closed = port.stop_listening();
        iterate_until(&reactor, || closed.is_done());
        assert!(port.handle().is_none() && port.receive_buffer().is_err());
    }

    fn a_flood_of_empty_datagrams_ends(subject: &Subject) {
        // U4: an empty datagram is no end of file, and timers keep running.
        let (reactor, client, script) = (subject.reactor(), plain_socket("127.0.0.1:0"), DatagramScript::new());
        let binding = UdpBinding::try_from("127.0.0.1:0").unwrap().receive_buffer(4 << 20);
        let port = reactor.listen_udp(binding, script.clone()).unwrap();
        for round in 1..=20 {
            send_many(&client, 500, b"", &port);
            iterate_until(&reactor, script.has(round * 500));
        }
        client.send_to(b"x", inet(&port)).unwrap();
        iterate_until(&reactor, script.has(10_001));
        assert_eq!(script.received().last().unwrap(), b"x");
    }

    fn slow_callbacks_do_not_delay_timers(subject: &Subject) {
        // U11: 2 ms for each datagram of a flood.
        let (reactor, client) = (subject.reactor(), plain_socket("127.0.0.1:0"));
        let script = DatagramScript::new().on_data(|_, _| std::thread::sleep(Duration::from_millis(2)));
        let port = listen(&reactor, &script);
        send_many(&client, 100, b"x", &port);
        let most = std::rc::Rc::new(std::cell::Cell::new(0));
        fn look(reactor: &Reactor, script: &DatagramScript, before: usize, most: &std::rc::Rc<std::cell::Cell<usize>>) {
            let now = script.received().len();
            most.set(most.get().max(now - before));
            let (script, most) = (script.clone(), most.clone());
            reactor.call_later(Duration::ZERO, move |reactor| look(reactor, &script, now, &most));
        }
        look(&reactor, &script, 0, &most);
        iterate_until(&reactor, script.has(100));
        // Between two turns at most one batch is delivered, which begins small.
        assert!(most.get() <= 4, "{} in one turn", most.get());
    }

    fn a_write_that_meets_a_refusal_is_sent_again(subject: &Subject) {
        // U2: the send that reports the refusal has sent nothing.
        let (reactor, log, server) = (subject.reactor(), Log::new(), DatagramScript::new());
        let peer = Address::from(UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let port = listen(&reactor, &DatagramScript::new().logged(&log, "port"));
        port.connect(&peer).unwrap();
        port.write(b"1").unwrap();
        reactor.listen_udp(peer.inet().unwrap(), server.clone()).unwrap();
        // No turn between: the refusal of `1` waits in the socket.
        port.write(b"2").unwrap();
        port.write(b"3").unwrap();
        iterate_until(&reactor, server.has(2));
        assert_eq!(server.received(), [b"2", b"3"]);
        log.expect(&["port started", "port refused"]);
    }

    fn a_flood_does_not_starve_timers(subject: &Subject) {
        // U11: a bound of datagrams in each turn.
        let reactor = subject.reactor();
        let script = DatagramScript::new().on_data(|port, datagram| {
            port.write_to(datagram.data, &port.host()).unwrap();
        });
        let port = listen(&reactor, &script);
        (0..100).for_each(|_| port.write_to(b"x", &port.host()).unwrap());
        let ticks = Rc::new(RefCell::new(Vec::new()));
        tick(&reactor, &ticks, &script);
        let seen = ticks.clone();
        run_until(&reactor, move || seen.borrow().len() >= 20);
        // Between two ticks of a millisecond, hundreds of datagrams could be handled.
        let ticks = ticks.borrow();
        let most = ticks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(most < 100_000 && ticks[19] > ticks[0], "{ticks:?}");
    }
}

/// Notes at each tick how many datagrams have arrived.
fn tick(reactor: &Reactor, ticks: &Rc<RefCell<Vec<usize>>>, script: &DatagramScript) {
    ticks.borrow_mut().push(script.received().len());
    let (ticks, script) = (ticks.clone(), script.clone());
    if ticks.borrow().len() < 20 {
        reactor.call_later(Duration::from_millis(1), move |reactor| tick(reactor, &ticks, &script));
    }
}
