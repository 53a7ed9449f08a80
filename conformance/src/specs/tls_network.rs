//! TLS on a simulated network: limits in virtual time, faults, and runs that a seed replays.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk::PanicPolicy;
use ropewalk::protocols::{TlsClientFactory, TlsServerFactory};
use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor, Random, SimulatedNetwork, TestStream};
use ropewalk::tls::rustls::version::TLS13;
use ropewalk::tls::{ClientOptions, ServerOptions, TlsClient, TlsServer};

use crate::certificates::{Authority, Pair};
use crate::foreign_tls::Foreign;
use crate::links::{assert_same_bytes, noise};
use crate::logged::logged;
use crate::script::{Log, Script};
use crate::specifications;
use crate::tls_ends::{NAME, logs_end, send_last};

const SECOND: Duration = Duration::from_secs(1);
const SERVER: &str = "10.0.0.1:443";
const RELAY: &str = "10.0.0.2:443";

/// The hosts of a server and of a client.
const HOSTS: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

fn network(seed: u64) -> MemoryReactor {
    let net = MemoryReactor::seeded(seed);
    net.set_panic_policy(PanicPolicy::Stop);
    net
}

/// Connects a client that speaks TLS to `address`.
fn connect(net: &MemoryReactor, address: &str, pair: &Pair, client: &Script) {
    net.connect_tcp(address, TlsClientFactory::new(client.factory(), &pair.client, NAME)).unwrap();
}

/// Serves on the network by `tls`, and logs the ends of the connections.
fn serve(net: &MemoryReactor, tls: &TlsServer, log: &Log) {
    let server = Script::echo().on_lost(logs_end(log, "server"));
    net.listen_tls(SERVER, server.factory(), tls).unwrap();
}

/// Lets a client that speaks TLS talk to an echo, with every byte passed on by hand. Returns all bytes.
fn conversation(seed: u64, pair: &Pair) -> Vec<u8> {
    let (net, log) = (network(seed), Log::new());
    serve(&net, &pair.server, &log);
    let relay = net.listen_stream(RELAY).unwrap();
    let client = Script::new().on_made(|transport| transport.write(b"hello"));
    let client = client.on_data(|transport, _| transport.lose_connection());
    connect(&net, RELAY, pair, &client);
    net.settle();
    let (to_client, to_server) = (relay.accept().unwrap(), net.connect_stream(SERVER));
    let mut seen = Vec::new();
    for (from, to) in [(&to_client, &to_server), (&to_server, &to_client)].into_iter().cycle().take(20) {
        net.settle();
        let bytes = from.take_received();
        to.write(&bytes);
        seen.extend(bytes);
    }
    assert_eq!(client.received(), b"hello");
    log.expect(&["server ConnectionDone"]);
    seen
}

/// Sends `bytes` and closes this side. Adds `name` to `log` when the peer has ended its side in order, and the end.
fn half_closing(log: &Log, name: &'static str, bytes: &[u8]) -> Script {
    let (sent, ended) = (bytes.to_vec(), log.clone());
    let script = Script::new().on_made(move |transport| {
        transport.write(&sent);
        transport.lose_write_connection();
    });
    script.on_read_lost(move |_| ended.add(name)).on_lost(logs_end(log, name))
}

fn ended(streams: &[TestStream]) -> usize {
    streams.iter().filter(|stream| stream.is_eof() || stream.is_reset()).count()
}

specifications! {
    tls_network;

    fn silent_or_slow_clients_end_at_the_limit(_subject: &Subject) {
        // ServerOptions::handshake_timeout counts from accept, however often bytes arrive.
        let options = ServerOptions::new().handshake_timeout(10 * SECOND);
        let (net, pair, log) = (network(1), Pair::of(options, ClientOptions::new()), Log::new());
        serve(&net, &pair.server, &log);
        let silent: Vec<_> = (0..300).map(|_| net.connect_stream(SERVER)).collect();
        let slow = net.connect_stream(SERVER);
        let hello = Foreign::client(pair.authority.foreign_client(&[&TLS13])).take_records();
        let mut bytes = hello.iter();
        for _ in 0..9 {
            net.advance(SECOND);
            slow.write(&[*bytes.next().unwrap()]);
        }
        net.advance(SECOND - Duration::from_millis(1));
        assert_eq!((pair.server.handshakes(), ended(&silent), slow.is_reset()), (301, 0, false));
        net.advance(Duration::from_millis(2));
        assert_eq!((pair.server.handshakes(), ended(&silent), slow.is_reset()), (0, 300, true));
        assert_eq!(log.count("server ConnectionLost"), 301, "{:?}", log.entries());
        assert!(net.get_delayed_calls().is_empty());
        assert_eq!(net.source_count(), 1);
    }

    fn handshakes_beyond_the_limit_do_not_stop_others(_subject: &Subject) {
        // handshakes_max: connections whose handshake is complete are served, and places become free again.
        let options = ServerOptions::new().handshakes_max(20).handshake_timeout(10 * SECOND);
        let (net, pair, log) = (network(2), Pair::of(options, ClientOptions::new()), Log::new());
        serve(&net, &pair.server, &log);
        let first = Script::new().on_made(|transport| transport.write(b"1"));
        let kept = crate::links::Transports::new();
        let first = first.listed_in(&kept);
        connect(&net, SERVER, &pair, &first);
        net.settle();
        let silent: Vec<_> = (0..50).map(|_| net.connect_stream(SERVER)).collect();
        net.settle();
        assert_eq!((pair.server.handshakes(), ended(&silent)), (20, 30));
        kept.first().write(b"2");
        net.settle();
        assert_eq!(first.received(), b"12");
        let refused = Script::new().on_made(|transport| transport.write(b"3")).on_lost(logs_end(&log, "refused"));
        connect(&net, SERVER, &pair, &refused);
        net.settle();
        assert!(log.contains("refused ClosedInHandshake"), "{:?}", log.entries());
        net.advance(10 * SECOND);
        let late = Script::new().on_made(|transport| transport.write(b"4"));
        connect(&net, SERVER, &pair, &late);
        net.settle();
        assert_eq!((late.received(), first.received()), (b"4".to_vec(), b"12".to_vec()));
    }

    fn refused_connections_are_logged_once_in_a_while(_subject: &Subject) {
        // A peer that connects 1,000 times a second must not write 1,000 lines a second.
        let options = ServerOptions::new().handshakes_max(1);
        let (net, pair, log) = (network(11), Pair::of(options, ClientOptions::new()), Log::new());
        serve(&net, &pair.server, &log);
        let connect = |count| {
            let streams: Vec<_> = (0..count).map(|_| net.connect_stream(SERVER)).collect();
            net.settle();
            streams
        };
        let _pending = connect(1);
        let lines = logged(|| {
            assert_eq!(ended(&connect(100)), 100);
            net.advance(9 * SECOND);
            assert_eq!(ended(&connect(100)), 100);
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("too many handshakes are in progress"), "{lines:?}");
    }

    fn a_client_gives_up_on_a_silent_server(_subject: &Subject) {
        // ClientOptions::handshake_timeout
        let options = ClientOptions::new().handshake_timeout(3 * SECOND);
        let (net, pair, log) = (network(3), Pair::of(ServerOptions::new(), options), Log::new());
        let listener = net.listen_stream(SERVER).unwrap();
        connect(&net, SERVER, &pair, &Script::new().on_lost(logs_end(&log, "client")));
        net.advance(2 * SECOND);
        let server = listener.accept().unwrap();
        assert!(!server.received().is_empty() && !server.is_reset());
        net.advance(2 * SECOND);
        assert!(server.is_reset());
        log.expect(&["client ConnectionLost"]);
    }

    fn the_wait_for_the_peers_close_is_bounded(_subject: &Subject) {
        // Linger: a peer that never closes is cut off. The end was reported long before.
        let (net, pair, log) = (network(4), Pair::new(), Log::new());
        let server = Script::sends(b"x".to_vec()).on_lost(logs_end(&log, "server"));
        net.listen_tls(SERVER, server.factory(), &pair.server).unwrap();
        let client = net.connect_stream(SERVER);
        let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        for _ in 0..4 {
            client.write(&foreign.take_records());
            net.settle();
            foreign.feed(&client.take_received());
        }
        assert_eq!((foreign.received(), foreign.has_ended()), (b"x".to_vec(), true));
        log.expect(&["server ConnectionDone"]);
        assert_eq!(net.lingering_count(), 1);
        net.advance(5 * SECOND);
        assert_eq!((net.lingering_count(), net.source_count(), net.get_delayed_calls().len()), (0, 1, 0));
    }

    fn a_seed_replays_every_byte(_subject: &Subject) {
        // The random numbers and keys of a handshake follow from the seed of the network.
        let pair = Pair::of(ServerOptions::new().sessions_max(0), ClientOptions::new().sessions_max(0));
        let (first, again, other) = (conversation(7, &pair), conversation(7, &pair), conversation(8, &pair));
        assert!(first.len() > 1000);
        assert_same_bytes(&again, &first);
        assert!(first != other);
    }

    fn two_connections_of_a_seed_have_different_keys(_subject: &Subject) {
        // Otherwise a test would not see a mix-up of two connections.
        let (net, pair) = (network(9), Pair::new());
        let listener = net.listen_stream(SERVER).unwrap();
        (0..2).for_each(|_| connect(&net, SERVER, &pair, &Script::new()));
        net.settle();
        let [first, second] = [(); 2].map(|()| listener.accept().unwrap().received());
        assert!(!first.is_empty() && first != second);
    }

    fn faults_of_the_network_change_nothing(_subject: &Subject) {
        // Short reads and writes, small buffers, latency, and handshake messages in many small records.
        for seed in 0..40 {
            let faults = [Faults::none().short_reads(), Faults::none().short_writes().shuffled(), Faults::none().lent_reads()];
            let faults = faults[seed as usize % 3].clone().spurious_events().jitter(Duration::from_millis(3));
            let net = network(seed).with_faults(faults.buffer([500, 3000, 64 * 1024][seed as usize / 3 % 3]));
            let (pair, sent) = (Pair::new(), noise(50_000, 70 + seed as u32));
            let server = AccumulatingProtocol::new();
            net.listen_tls(SERVER, server.factory(), &pair.server).unwrap();
            let bytes = sent.clone();
            let client = Script::new().on_made(move |transport| {
                transport.write(&bytes);
                transport.lose_connection();
            });
            connect(&net, SERVER, &pair, &client);
            net.advance(10 * SECOND);
            assert_same_bytes(&server.data(), &sent);
            assert!(server.is_read_lost(), "seed {seed}");
            let mut config = pair.authority.foreign_client(&[&TLS13]);
            config.max_fragment_size = Some(32);
            let foreign = Foreign::client_of(Arc::new(config), NAME);
            let bytes = sent.clone();
            let small = foreign.script(move |foreign, transport| send_last(foreign, transport, &bytes));
            let before = server.data().len();
            net.connect_tcp(SERVER, small.factory()).unwrap();
            net.advance(10 * SECOND);
            assert_same_bytes(&server.data()[before..], &sent);
        }
    }

    fn a_ticket_in_pieces_may_come_between_writes(_subject: &Subject) {
        // A peer decides how it cuts its messages. rustls panics if it is asked to encrypt without the first piece.
        let (net, pair) = (network(10).with_faults(Faults::none().short_reads()), Pair::new());
        let mut config = pair.issued.foreign_server(&[&TLS13]);
        config.max_fragment_size = Some(32);
        let foreign = Foreign::server(config);
        let listener = net.listen_stream(SERVER).unwrap();
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let kept = crate::links::Transports::new();
        let client = Script::new().listed_in(&kept);
        connect(&net, SERVER, &pair, &client);
        net.settle();
        let server = listener.accept().unwrap();
        for _ in 0..3 {
            foreign.feed(&server.take_received());
            for byte in foreign.take_records() {
                server.write(&[byte]);
                kept.first().write(b"x");
                count.set(count.get() + 1);
                net.settle();
            }
        }
        foreign.feed(&server.take_received());
        assert_eq!(foreign.failed(), None);
        assert_eq!(foreign.received().len(), written.get());
        assert!(written.get() > 1000);
    }

    fn a_broken_network_never_looks_like_an_orderly_end(_subject: &Subject) {
        // Two hosts. Links are cut and restored at any time, also in the handshake, and some servers are killed. A
        // connection ends in order with all data, or with an error.
        let (mut whole, mut lost) = (0, 0);
        for seed in 0..150 {
            let mut random = Random::new(seed ^ 0x7157);
            let (log, sent) = (Log::new(), [0, 1].map(|side| noise(60_000, 2 * seed as u32 + side)));
            let network = SimulatedNetwork::seeded(seed).with_faults(Faults::none().jitter(Duration::from_millis(8)));
            let hosts = HOSTS.map(|address| network.host(address));
            let (authority, issued) = Authority::replayed(&[NAME]);
            let tls = ServerOptions::new().identity(issued.identity()).handshake_timeout(3 * SECOND);
            let tls = TlsServer::new(tls).unwrap();
            let [server, client] = [("server", &sent[0]), ("client", &sent[1])].map(|(name, bytes)| half_closing(&log, name, bytes));
            hosts[0].listen_tcp(SERVER, TlsServerFactory::new(server.factory(), &tls)).unwrap();
            let trusting = TlsClient::new(ClientOptions::new().authorities(authority.trusted())).unwrap();
            hosts[1].connect_tcp(SERVER, TlsClientFactory::new(client.factory(), &trusting, NAME)).unwrap();
            let killed_at = if seed % 3 == 0 { random.below(6) } else { usize::MAX };
            for step in 0..12 {
                match random.below(4) {
                    0 => network.partition(&[HOSTS[0]], &[HOSTS[1]]),
                    1 => network.cut(HOSTS[1], HOSTS[0]),
                    _ => network.heal(),
                }
                if step == killed_at {
                    network.kill(HOSTS[0]);
                }
                network.advance(random.duration(Duration::from_millis(500)));
            }
            network.heal();
            network.advance(3600 * SECOND);
            for (name, end, other) in [("server", &server, &sent[1]), ("client", &client, &sent[0])] {
                assert!(other.starts_with(&end.received()), "seed {seed}: the {name} has received other bytes");
                let is_whole = end.received().len() == other.len();
                let entries = log.entries();
                assert!(is_whole || !log.contains(name), "seed {seed}: a part with an orderly end, {entries:?}");
                let is_done = log.contains(&format!("{name} ConnectionDone"));
                assert!(is_whole || !is_done, "seed {seed}: the loss of a part was not reported, {entries:?}");
                if is_done { whole += 1 } else { lost += 1 }
            }
            assert!(tls.handshakes() == 0, "seed {seed}");
        }
        assert!(whole > 30 && lost > 30, "{whole} ends in order, {lost} others: the faults are too few or too many");
    }
}
