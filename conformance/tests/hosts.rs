//! Several reactors on one simulated network: their promises to each other, and the choices of the seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::testing::{AccumulatingProtocol, Faults, Host, SimulatedNetwork, Skew};
use ropewalk::{Destination, RunOptions};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Events in the order in which they happened.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, event: impl Into<String>) {
        self.0.borrow_mut().push(event.into());
    }

    fn events(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// A connection between two hosts, and the protocols at its ends.
struct Pair {
    client: AccumulatingProtocol,
    server: AccumulatingProtocol,
}

impl Pair {
    /// Connects from one host to port 80 of another.
    fn connect(network: &SimulatedNetwork, client_host: &Host, server_host: &Host, address: &str) -> Pair {
        let (client, server) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
        server_host.listen_tcp("0.0.0.0:80", server.factory()).unwrap();
        client_host.connect_tcp(&*format!("{address}:80"), client.factory()).unwrap();
        assert!(network.run_until(10 * SECOND, || client.made() == 1 && server.made() == 1), "did not connect");
        Pair { client, server }
    }

    fn send(&self, bytes: &[u8]) {
        self.client.transport().unwrap().write(bytes);
    }
}

fn slow() -> Faults {
    Faults::none().latency(10 * MS)
}

mod time {
    use super::*;

    #[test]
    fn calls_of_all_hosts_run_in_the_order_of_their_times() {
        let network = SimulatedNetwork::seeded(1);
        let hosts = [A, B, C].map(|address| network.host(address));
        let log = Log::default();
        for (delay, host) in [(3, 0), (1, 1), (2, 2), (5, 0), (4, 2)] {
            let log = log.clone();
            hosts[host].call_later(delay * SECOND, move |reactor| log.note(format!("{}", reactor.seconds())));
        }
        network.advance(10 * SECOND);
        assert_eq!(log.events(), ["1", "2", "3", "4", "5"]);
        assert_eq!(hosts.map(|host| host.seconds()), [10.0; 3]);
    }

    #[test]
    fn the_seed_orders_hosts_that_are_due_at_the_same_time() {
        let order = |seed| {
            let network = SimulatedNetwork::seeded(seed);
            let hosts = [A, B, C].map(|address| network.host(address));
            let log = Log::default();
            for (number, host) in hosts.iter().enumerate() {
                let log = log.clone();
                host.call_later(SECOND, move |_| log.note(number.to_string()));
            }
            network.advance(SECOND);
            log.events()
        };
        let orders: std::collections::BTreeSet<_> = (0..100).map(order).collect();
        assert_eq!(orders.len(), 6, "all orders of three hosts: {orders:?}");
        assert!((0..20).all(|seed| order(seed) == order(seed)));
    }

    /// Records the host of each client, in the order of their acceptance.
    struct Arrivals(Log);

    impl Protocol for Arrivals {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.note(transport.peer().inet().unwrap().ip().to_string());
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    }

    #[test]
    fn the_seed_orders_segments_that_arrive_at_the_same_time() {
        let order = |seed| {
            let network = SimulatedNetwork::seeded(seed).with_faults(slow());
            let [a, b, c] = [A, B, C].map(|address| network.host(address));
            let log = Log::default();
            let own = log.clone();
            c.listen_tcp("10.0.0.3:80", move || Arrivals(own.clone())).unwrap();
            for host in [&a, &b] {
                host.connect_tcp("10.0.0.3:80", AccumulatingProtocol::new().factory()).unwrap();
            }
            network.settle();
            log.events()
        };
        let orders: std::collections::BTreeSet<_> = (0..50).map(order).collect();
        assert_eq!(Vec::from_iter(orders), [[A, B], [B, A]]);
    }

    #[test]
    fn a_skewed_clock_changes_the_time_at_which_calls_run() {
        let network = SimulatedNetwork::seeded(1);
        let exact = network.host(A);
        let quick = network.skewed_host(B, Skew::none().ahead(100 * SECOND).drift(100_000));
        let slow = network.skewed_host(C, Skew::none().drift(-500_000));
        let log = Log::default();
        for (name, host) in [("exact", &exact), ("quick", &quick), ("slow", &slow)] {
            let (log, network) = (log.clone(), network.clone());
            host.call_later(11 * SECOND, move |reactor| {
                let now = network.now().since(ropewalk::Moment::ZERO).as_secs();
                log.note(format!("{name} at {now}, by its clock {}", reactor.seconds()));
            });
        }
        network.advance(60 * SECOND);
        let expected = ["quick at 10, by its clock 111", "exact at 11, by its clock 11", "slow at 22, by its clock 11"];
        assert_eq!(log.events(), expected);
    }

    #[test]
    fn run_until_stops_at_the_event_or_when_its_patience_ends() {
        let network = SimulatedNetwork::seeded(1);
        let host = network.host(A);
        let done = Rc::new(Cell::new(false));
        let set = done.clone();
        host.call_later(3 * SECOND, move |_| set.set(true));
        assert!(!network.run_until(2 * SECOND, || done.get()));
        assert_eq!(host.seconds(), 2.0);
        assert!(network.run_until(10 * SECOND, || done.get()));
        assert_eq!(host.seconds(), 3.0);
    }

    #[test]
    #[should_panic(expected = "do not end: a call is scheduled again and again")]
    fn an_endless_loop_without_time_is_detected() {
        fn again(reactor: &Reactor) {
            reactor.call_later(Duration::ZERO, again);
        }
        let network = SimulatedNetwork::seeded(1);
        let (_other, host) = (network.host(A), network.host(B));
        host.call_later(SECOND, again);
        network.advance(2 * SECOND);
    }
}

mod determinism {
    use super::*;

    /// Replies to each message, and records both.
    struct Replies(Log);

    impl Protocol for Replies {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            let (now, count, peer) = (transport.reactor().now(), data.len(), transport.peer());
            self.0.note(format!("{now:?} received {count} bytes from {peer}"));
            if count > 1 {
                transport.write(&data[1..]);
            }
        }

        fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
            self.0.note(format!("lost {}: {reason}", transport.peer()));
        }
    }

    /// Sends a message once it is connected.
    struct Begins(Replies);

    impl Protocol for Begins {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(&[7; 100]);
        }

        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            self.0.data_received(transport, data);
        }
    }

    fn run(seed: u64) -> Vec<String> {
        let faults =
            Faults::none().short_reads().short_writes().shuffled().spurious_events().resets(0.01).jitter(20 * MS);
        let network = SimulatedNetwork::seeded(seed).with_faults(faults);
        let hosts = [A, B, C].map(|address| network.host(address));
        let log = Log::default();
        for host in &hosts {
            let log = log.clone();
            host.listen_tcp("0.0.0.0:80", move || Replies(log.clone())).unwrap();
        }
        for (number, host) in hosts.iter().enumerate() {
            let log = log.clone();
            let to = [B, C, A][number];
            host.connect_tcp(&*format!("{to}:80"), move || Begins(Replies(log.clone()))).unwrap();
        }
        network.advance(100 * MS);
        network.partition(&[A], &[B]);
        network.advance(SECOND);
        network.crash(C);
        network.heal();
        network.advance(100 * SECOND);
        log.events()
    }

    #[test]
    fn the_same_seed_gives_the_same_events_at_the_same_times() {
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed));
            assert!(run(seed).len() > 10);
        }
    }

    #[test]
    fn another_seed_gives_other_events() {
        assert!((0..20).all(|seed| run(seed) != run(seed + 1)));
    }
}

mod links {
    use super::*;

    #[test]
    fn bytes_cross_a_healed_partition_with_the_next_retransmission() {
        let network = SimulatedNetwork::seeded(1).with_faults(slow());
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        network.partition(&[A], &[B]);
        pair.send(b"first ");
        network.advance(SECOND);
        pair.send(b"second");
        network.advance(SECOND);
        assert_eq!(pair.server.data(), b"");
        network.heal();
        network.advance(2 * SECOND);
        assert_eq!(pair.server.data(), b"first second");
        assert!(pair.client.lost().is_none());
    }

    #[test]
    fn hosts_on_one_side_of_a_partition_reach_each_other() {
        let network = SimulatedNetwork::seeded(1);
        let [a, b, c] = [A, B, C].map(|address| network.host(address));
        network.partition(&[A, B], &[C]);
        let pair = Pair::connect(&network, &a, &b, B);
        let (lonely, stranger) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
        c.connect_tcp(Destination::new(B, 80).timeout(5 * SECOND), lonely.factory()).unwrap();
        b.listen_tcp("0.0.0.0:81", stranger.factory()).unwrap();
        network.advance(10 * SECOND);
        assert_eq!((pair.server.made(), lonely.made()), (1, 0));
    }

    #[test]
    fn an_attempt_during_a_partition_succeeds_after_the_heal() {
        // tcp(7): a SYN is sent again after 1 s, 3 s, 7 s and so on.
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        network.partition(&[A], &[B]);
        let (client, server) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
        b.listen_tcp("10.0.0.2:80", server.factory()).unwrap();
        a.connect_tcp("10.0.0.2:80", client.factory()).unwrap();
        network.advance(2 * SECOND);
        network.heal();
        network.advance(SECOND - MS);
        assert_eq!(client.made(), 0);
        network.advance(MS);
        assert_eq!((client.made(), server.made()), (1, 1));
    }

    #[test]
    fn a_long_partition_times_the_connection_out_for_a_sender() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        network.partition(&[A], &[B]);
        pair.send(b"lost");
        network.advance(924 * SECOND);
        assert!(pair.client.lost().is_none());
        network.advance(SECOND);
        let reason = pair.client.lost().expect("the kernel has given up");
        assert!(matches!(reason, Error::ConnectionLost(Some(_))), "{reason:?}");
        assert!(pair.server.lost().is_none(), "the other end has noticed nothing");
        network.heal();
        pair.server.transport().unwrap().write(b"anybody there?");
        network.advance(SECOND);
        assert!(pair.server.lost().is_some());
    }

    #[test]
    fn a_cut_in_one_direction_lets_the_other_pass() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        network.cut(A, B);
        pair.send(b"lost");
        pair.server.transport().unwrap().write(b"arrives");
        network.advance(SECOND);
        assert_eq!((pair.server.data(), pair.client.data()), (Vec::new(), b"arrives".to_vec()));
    }

    #[test]
    fn each_link_has_its_own_latency() {
        let network = SimulatedNetwork::seeded(1).with_faults(slow());
        let [a, b, c] = [A, B, C].map(|address| network.host(address));
        network.set_latency(A, C, 100 * MS);
        let (near, far) = (Pair::connect(&network, &a, &b, B), Pair::connect(&network, &a, &c, C));
        near.send(b"x");
        far.send(b"x");
        network.advance(10 * MS);
        assert_eq!((near.server.data().len(), far.server.data().len()), (1, 0));
        network.advance(89 * MS);
        assert_eq!(far.server.data().len(), 0);
        network.advance(MS);
        assert_eq!(far.server.data().len(), 1);
    }
}

mod addresses {
    use super::*;

    #[test]
    fn local_addresses_belong_to_each_host() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let protocols = [&a, &b].map(|host| {
            let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
            host.listen_tcp("127.0.0.1:80", server.factory()).unwrap();
            host.connect_tcp("127.0.0.1:80", client.factory()).unwrap();
            host.listen_unix("/run/socket", AccumulatingProtocol::new().factory()).unwrap();
            server
        });
        let stranger = AccumulatingProtocol::new();
        b.connect_tcp("10.0.0.1:80", stranger.factory()).unwrap();
        network.settle();
        assert_eq!(protocols.map(|server| server.made()), [1, 1]);
        assert_eq!(stranger.made(), 0, "a loopback listener is not reachable from outside");
    }

    #[test]
    fn a_peer_sees_the_address_of_the_host() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        assert_eq!(pair.server.transport().unwrap().peer().inet().unwrap().ip().to_string(), A);
        assert_eq!(pair.server.transport().unwrap().host().unwrap().inet().unwrap().ip().to_string(), B);
    }

    #[test]
    fn a_host_cannot_listen_at_the_address_of_another() {
        let network = SimulatedNetwork::seeded(1);
        let (a, _b) = (network.host(A), network.host(B));
        let error = a.listen_tcp("10.0.0.2:80", AccumulatingProtocol::new().factory()).unwrap_err();
        assert!(error.to_string().contains("10.0.0.2 is not an address of the host 10.0.0.1"), "{error}");
        assert!(network.listen_stream("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap()).is_err());
    }

    #[test]
    fn hosts_exchange_data_with_test_ends() {
        let network = SimulatedNetwork::seeded(1);
        let host = network.host(A);
        let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
        host.listen_tcp("0.0.0.0:80", server.factory()).unwrap();
        let listener = network.listen_stream("10.9.9.9:80".parse::<std::net::SocketAddr>().unwrap()).unwrap();
        host.connect_tcp("10.9.9.9:80", client.factory()).unwrap();
        let stream = network.connect_stream("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap());
        stream.write(b"hello");
        network.settle();
        assert_eq!(server.data(), b"hello");
        assert!(listener.accept().is_some_and(|end| end.is_connected()) && client.made() == 1);
    }

    #[test]
    #[should_panic(expected = "a host with the address 10.0.0.1 is already running: crash or kill it first")]
    fn a_second_host_at_an_address_is_rejected() {
        let network = SimulatedNetwork::seeded(1);
        let _hosts = (network.host(A), network.host(A));
    }

    #[test]
    #[should_panic(expected = "no host has the address 10.0.0.2: start one with SimulatedNetwork::host")]
    fn an_unknown_host_is_rejected() {
        SimulatedNetwork::seeded(1).crash(B);
    }

    #[test]
    #[should_panic(expected = "the host with the address 10.0.0.1 is down: start it with SimulatedNetwork::host")]
    fn a_second_crash_is_rejected() {
        let network = SimulatedNetwork::seeded(1);
        let _host = network.host(A);
        network.crash(A);
        network.crash(A);
    }

    #[test]
    #[should_panic(expected = "'10.0.0.1:80' is not an IP address of a host")]
    fn an_address_with_a_port_is_rejected() {
        let _host = SimulatedNetwork::seeded(1).host("10.0.0.1:80");
    }
}

mod loss {
    use super::*;

    #[test]
    fn a_sender_to_a_crashed_host_times_out() {
        // tcp(7), tcp_retries2: 924.6 s.
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        network.crash(B);
        network.advance(3600 * SECOND);
        assert!(pair.client.lost().is_none(), "an idle peer notices nothing");
        pair.send(b"anybody there?");
        network.advance(924 * SECOND);
        assert!(pair.client.lost().is_none());
        network.advance(SECOND);
        assert!(matches!(pair.client.lost(), Some(Error::ConnectionLost(Some(_)))));
        assert!(pair.server.lost().is_none(), "a crashed host runs no callback");
    }

    #[test]
    fn bytes_under_way_to_a_crash_end_in_a_reset_after_the_restart() {
        let network = SimulatedNetwork::seeded(1).with_faults(slow());
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        pair.send(b"under way");
        network.advance(5 * MS);
        network.crash(B);
        network.advance(5 * SECOND);
        assert!(pair.client.lost().is_none());
        let _again = network.host(B);
        network.advance(10 * SECOND);
        assert!(matches!(pair.client.lost(), Some(Error::ConnectionLost(Some(_)))));
    }

    #[test]
    fn attempts_to_connect_to_a_crashed_host_are_not_answered() {
        let network = SimulatedNetwork::seeded(1);
        let (a, _b) = (network.host(A), network.host(B));
        network.crash(B);
        let client = AccumulatingProtocol::new();
        let connector = a.connect_tcp(Destination::new(B, 80).timeout(30 * SECOND), client.factory()).unwrap();
        network.advance(29 * SECOND);
        assert_eq!(connector.state(), ropewalk::ConnectorState::Connecting);
        network.advance(SECOND);
        assert_eq!(connector.state(), ropewalk::ConnectorState::Disconnected);
    }

    #[test]
    fn a_restarted_host_has_no_old_connection() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let old = Pair::connect(&network, &a, &b, B);
        network.crash(B);
        let again = network.host(B);
        assert_eq!(again.open_sources(), 0);
        let new = Pair::connect(&network, &a, &again, B);
        new.send(b"new");
        old.send(b"old");
        network.settle();
        assert_eq!((new.server.data(), old.server.data()), (b"new".to_vec(), Vec::new()));
        assert!(old.client.lost().is_some(), "the restarted kernel answers with a reset");
        assert!(b.listen_tcp("0.0.0.0:81", AccumulatingProtocol::new().factory()).is_err(), "the old reactor is dead");
    }

    #[test]
    fn a_killed_process_closes_its_sources() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        network.kill(B);
        let client = AccumulatingProtocol::new();
        let connector = a.connect_tcp("10.0.0.2:80", client.factory()).unwrap();
        network.settle();
        assert!(pair.client.lost().is_some_and(|reason| reason.is_done()));
        assert_eq!(connector.state(), ropewalk::ConnectorState::Disconnected);
        assert_eq!((a.open_sources(), network.open_sources()), (0, 0));
    }

    #[test]
    fn a_dropped_host_is_a_process_that_exits() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        drop(b);
        network.settle();
        assert!(pair.client.lost().is_some_and(|reason| reason.is_done()));
        let _again = network.host(B);
    }

    #[test]
    fn a_stopped_reactor_leaves_the_others_running() {
        let network = SimulatedNetwork::seeded(1);
        let [a, b, c] = [A, B, C].map(|address| network.host(address));
        let (stopped, living) = (Pair::connect(&network, &a, &b, B), Pair::connect(&network, &a, &c, C));
        b.start_running(RunOptions::default()).unwrap();
        b.call_later(SECOND, |reactor| reactor.stop().unwrap());
        network.advance(2 * SECOND);
        assert!(!b.is_started() && b.open_sources() == 0);
        assert!(stopped.client.lost().is_some());
        living.send(b"still here");
        network.settle();
        assert_eq!(living.server.data(), b"still here");
    }
}

mod callbacks {
    use super::*;

    #[test]
    fn a_callback_that_writes_for_another_host_is_seen_at_once() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Rc::new(Pair::connect(&network, &b, &a, A));
        let sending = pair.clone();
        // The connection is B's, and B sleeps without a deadline.
        a.call_later(SECOND, move |_| sending.send(b"from a callback of the other host"));
        network.advance(SECOND);
        assert_eq!(pair.server.data(), b"from a callback of the other host");
    }

    #[test]
    fn a_callback_may_schedule_calls_of_another_host() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let log = Log::default();
        let (note, other) = (log.clone(), b.clone());
        a.call_later(SECOND, move |_| {
            other.call_later(SECOND, move |reactor| note.note(reactor.seconds().to_string()));
        });
        network.advance(5 * SECOND);
        assert_eq!(log.events(), ["2"]);
    }

    #[test]
    fn a_callback_may_drive_the_whole_network() {
        let network = SimulatedNetwork::seeded(1).with_faults(slow());
        let (a, b) = (network.host(A), network.host(B));
        let pair = Rc::new(Pair::connect(&network, &a, &b, B));
        let log = Log::default();
        let (waiting, inside, note) = (pair.clone(), network.clone(), log.clone());
        a.call_later(SECOND, move |reactor| {
            let began = reactor.now();
            waiting.send(b"x");
            assert!(inside.run_until(SECOND, || waiting.server.data() == b"x"));
            note.note(format!("received after {:?}", reactor.now() - began));
        });
        let note = log.clone();
        a.call_later(2 * SECOND, move |_| note.note("next call"));
        network.advance(5 * SECOND);
        assert_eq!(log.events(), ["received after 10ms", "next call"]);
        assert_eq!(network.now(), a.now());
    }

    #[test]
    fn a_callback_may_run_turns_of_another_reactor() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let log = Log::default();
        let note = log.clone();
        b.call_later(Duration::ZERO, move |_| note.note("b"));
        let (note, other) = (log.clone(), b.clone());
        a.call_later(Duration::ZERO, move |_| {
            other.iterate(Some(Duration::ZERO)).unwrap();
            note.note("a");
        });
        network.advance(Duration::ZERO);
        assert!(log.events() == ["b", "a"], "{:?}", log.events());
    }

    #[test]
    fn a_callback_may_drop_crash_or_kill_another_host() {
        let ways: [fn(&SimulatedNetwork, Host); 3] =
            [|_, host| drop(host), |network, _host| network.crash(B), |network, _host| network.kill(B)];
        for (number, end) in ways.into_iter().enumerate() {
            let network = SimulatedNetwork::seeded(1);
            let (a, b) = (network.host(A), network.host(B));
            let pair = Pair::connect(&network, &a, &b, B);
            b.call_later(2 * SECOND, |_| panic!("the host is gone"));
            let (inside, ended) = (network.clone(), Rc::new(Cell::new(false)));
            let set = ended.clone();
            a.call_later(SECOND, move |_| {
                end(&inside, b);
                set.set(true);
            });
            network.advance(5 * SECOND);
            assert!(ended.get());
            assert_eq!(pair.client.lost().is_some(), number != 1, "only a crash is silent");
            let _again = network.host(B);
        }
    }

    #[test]
    fn a_host_may_crash_in_a_callback_of_its_own() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let pair = Pair::connect(&network, &a, &b, B);
        let inside = network.clone();
        b.call_later(SECOND, move |_| inside.crash(B));
        b.call_later(2 * SECOND, |_| panic!("the host has crashed"));
        network.advance(5 * SECOND);
        assert!(pair.client.lost().is_none());
    }

    #[test]
    fn a_host_run_by_hand_gets_an_error_instead_of_waiting_for_ever() {
        let network = SimulatedNetwork::seeded(1);
        let (a, _b) = (network.host(A), network.host(B));
        let error = a.iterate(None).unwrap_err();
        assert!(error.to_string().contains("drive them all by SimulatedNetwork::run_until"), "{error}");
    }
}

mod threads {
    use super::*;

    #[test]
    fn a_call_from_a_thread_reaches_its_own_host() {
        let network = SimulatedNetwork::seeded(1);
        let (a, b) = (network.host(A), network.host(B));
        let handle = b.thread_handle();
        let (done, arrived) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            handle.call_from_thread(move |reactor| done.send(reactor.seconds()).unwrap());
        });
        thread.join().unwrap();
        network.advance(SECOND);
        assert_eq!(arrived.try_recv(), Ok(0.0));
        assert_eq!((a.seconds(), b.seconds()), (1.0, 1.0));
    }
}
