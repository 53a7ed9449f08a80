//! The provider alone, without a reactor: each test drives the trait that the reactor drives.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ropewalk_proto::{Address, Key, Moment, Outbox, Random};
use ropewalk_sys::{
    Capabilities, ConnectSpec, Event, EventProvider, Events, ListenSpec, Ready, Received, Sent, SocketOption, Sockets,
    Streams,
};

use super::{Faults, Simulated};
use crate::testing::SimulatedNetwork;

const MS: Duration = Duration::from_millis(1);

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

fn path(text: &str) -> Address {
    Address::Unix(std::path::Path::new(text).into())
}

fn to(address: Address) -> ConnectSpec {
    ConnectSpec { address, bind: None }
}

fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn wait(provider: &mut Simulated, timeout: Duration) -> Events {
    let mut events = Events::new();
    provider.wait(Some(timeout), &mut events).unwrap();
    events
}

fn listen(provider: &mut Simulated, address: &Address) -> Key {
    let (key, _) = provider.listen(&ListenSpec::new(address.clone())).unwrap();
    provider.set_reading(key, true).unwrap();
    key
}

/// Connects a pair, and returns the client's end and the accepted one.
fn pair_at(provider: &mut Simulated, address: &Address) -> (Key, Key) {
    let listener = listen(provider, address);
    let client = provider.connect(&to(address.clone())).unwrap();
    let server = loop {
        assert!(!wait(provider, Duration::from_secs(1)).is_empty(), "no connection arrived");
        if let Some((server, _)) = provider.accept(listener).unwrap() {
            break server;
        }
    };
    while provider.finish_connect(client).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        wait(provider, Duration::from_secs(1));
    }
    provider.close(listener);
    provider.set_reading(client, true).unwrap();
    provider.set_reading(server, true).unwrap();
    (client, server)
}

fn pair(provider: &mut Simulated) -> (Key, Key) {
    pair_at(provider, &inet("10.0.0.1:80"))
}

fn kind_network() -> Simulated {
    Simulated::new(1, Faults::none())
}

/// Describes the result of one call of `receive`.
fn receive(provider: &mut Simulated, key: Key) -> String {
    let mut scratch = [0; 1024];
    match provider.receive(key, &mut scratch) {
        Ok(Received::Filled(count)) => format!("+{}", scratch[..count].escape_ascii()),
        Ok(Received::Drained(count)) => scratch[..count].escape_ascii().to_string(),
        Ok(Received::Lent(chunk)) => format!("lent {}", chunk.escape_ascii()),
        Ok(Received::Empty) => "(empty)".to_owned(),
        Ok(Received::Eof) => "(eof)".to_owned(),
        Err(error) => format!("({:?})", error.kind()),
    }
}

/// Returns the readiness that the events report for `key`.
fn ready(events: &Events, key: Key) -> Ready {
    let mine = events.iter().filter(|event| event.key == key);
    mine.fold(Ready::empty(), |ready, event| ready | event.ready)
}

#[test]
fn a_stream_carries_bytes_both_ways() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    assert_eq!(provider.send_slice(client, b"request").unwrap(), 7);
    assert_eq!(wait(&mut provider, MS), [Event { key: server, ready: Ready::READ }]);
    assert_eq!(receive(&mut provider, server), "request");
    assert_eq!(receive(&mut provider, server), "(empty)");
    assert_eq!(provider.send_slice(server, b"answer").unwrap(), 6);
    assert_eq!(wait(&mut provider, MS), [Event { key: client, ready: Ready::READ }]);
    assert_eq!(receive(&mut provider, client), "answer");
    assert_eq!(provider.now(), Moment::ZERO);
}

#[test]
fn both_ends_agree_on_their_addresses() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    assert_eq!(provider.peer_address(client).unwrap(), inet("10.0.0.1:80"));
    assert_eq!(provider.local_address(server).unwrap(), inet("10.0.0.1:80"));
    assert_eq!(provider.local_address(client).unwrap(), provider.peer_address(server).unwrap());
    assert_ne!(provider.local_address(client).unwrap().inet().unwrap().port(), 0);
}

#[test]
fn a_dual_stack_listener_maps_ipv4_clients() {
    // ipv6(7): "IPv4 connections can be handled with the v6 API by using the v4-mapped-on-v6 address type".
    let mut provider = kind_network();
    let listener = listen(&mut provider, &inet("[::]:80"));
    let bind = Some(inet("10.0.0.9:1234"));
    provider.connect(&ConnectSpec { address: inet("10.0.0.1:80"), bind }).unwrap();
    wait(&mut provider, MS);
    let (server, peer) = provider.accept(listener).unwrap().unwrap();
    assert_eq!(peer, inet("[::ffff:10.0.0.9]:1234"));
    assert_eq!(provider.local_address(server).unwrap(), inet("[::ffff:10.0.0.1]:80"));
}

#[test]
fn port_0_chooses_a_free_port() {
    let mut provider = kind_network();
    let (_, first) = provider.listen(&ListenSpec::new(inet("10.0.0.1:0"))).unwrap();
    let (_, second) = provider.listen(&ListenSpec::new(inet("10.0.0.1:0"))).unwrap();
    assert_ne!(first, second);
    assert_ne!(first.inet().unwrap().port(), 0);
}

#[test]
fn an_address_can_be_used_again_after_close() {
    let mut provider = kind_network();
    for address in [inet("10.0.0.1:80"), path("/run/socket"), Address::Abstract((*b"name").into())] {
        let key = listen(&mut provider, &address);
        assert_eq!(kind(provider.listen(&ListenSpec::new(address.clone()))), ErrorKind::AddrInUse);
        provider.close(key);
        listen(&mut provider, &address);
    }
}

#[test]
fn an_attempt_without_a_listener_is_refused_in_a_round_trip() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS));
    let client = provider.connect(&to(inet("10.0.0.1:80"))).unwrap();
    assert_eq!(kind(provider.finish_connect(client)), ErrorKind::WouldBlock);
    let events = wait(&mut provider, Duration::from_secs(1));
    assert_eq!(events, [Event { key: client, ready: Ready::WRITE | Ready::ERROR | Ready::HANGUP }]);
    assert_eq!(provider.now(), Moment::ZERO + 20 * MS);
    assert_eq!(kind(provider.finish_connect(client)), ErrorKind::ConnectionRefused);
}

#[test]
fn a_unix_name_without_a_listener_fails_at_once() {
    // unix(7) and connect(2): ENOENT for a path that does not exist, ECONNREFUSED for an abstract name.
    let mut provider = kind_network();
    assert_eq!(kind(provider.connect(&to(path("/run/socket")))), ErrorKind::NotFound);
    let name = Address::Abstract((*b"name").into());
    assert_eq!(kind(provider.connect(&to(name))), ErrorKind::ConnectionRefused);
}

#[test]
fn a_unix_client_has_no_name() {
    let mut provider = kind_network();
    for address in [path("/run/socket"), Address::Abstract((*b"name").into())] {
        let (client, server) = pair_at(&mut provider, &address);
        assert_eq!(provider.peer_address(server).unwrap(), Address::Unnamed);
        assert_eq!(provider.peer_address(client).unwrap(), address);
        assert_eq!(provider.peer_credentials(server).unwrap().pid, Some(std::process::id()));
        provider.send_slice(client, b"hello").unwrap();
        wait(&mut provider, MS);
        assert_eq!(receive(&mut provider, server), "hello");
        assert_eq!(kind(provider.option(client, SocketOption::NoDelay)), ErrorKind::Unsupported);
    }
}

#[test]
fn an_aborted_unix_stream_ends_without_a_reset() {
    let mut provider = kind_network();
    let (client, server) = pair_at(&mut provider, &path("/run/socket"));
    provider.send_slice(client, b"bytes").unwrap();
    provider.abort(client);
    wait(&mut provider, MS);
    assert_eq!(receive(&mut provider, server), "bytes");
    assert_eq!(receive(&mut provider, server), "(eof)");
    assert_eq!(kind(provider.send_slice(server, b"x")), ErrorKind::BrokenPipe);
}

#[test]
fn an_attempt_to_a_black_hole_times_out_after_127_seconds() {
    let host = IpAddr::from([10, 0, 0, 9]);
    let mut provider = Simulated::new(1, Faults::none().black_hole(host));
    listen(&mut provider, &inet("10.0.0.9:80"));
    let client = provider.connect(&to(inet("10.0.0.9:80"))).unwrap();
    assert_eq!(wait(&mut provider, Duration::from_secs(30)), []);
    assert_eq!(provider.now(), Moment::ZERO + Duration::from_secs(30));
    assert_eq!(kind(provider.finish_connect(client)), ErrorKind::WouldBlock);
    assert!(ready(&wait(&mut provider, Duration::from_secs(1000)), client).contains(Ready::WRITE));
    assert_eq!(provider.now(), Moment::ZERO + Duration::from_secs(127));
    assert_eq!(kind(provider.finish_connect(client)), ErrorKind::TimedOut);
}

#[test]
fn clients_wait_while_the_backlog_is_full() {
    // listen(2); Linux holds one more than the backlog says.
    let mut provider = kind_network();
    let spec = ListenSpec { backlog: 1, ..ListenSpec::new(inet("10.0.0.1:80")) };
    let (listener, address) = provider.listen(&spec).unwrap();
    let clients: Vec<Key> = (0..4).map(|_| provider.connect(&to(address.clone())).unwrap()).collect();
    wait(&mut provider, MS);
    let connected =
        |provider: &mut Simulated| clients.iter().filter(|&&client| provider.finish_connect(client).is_ok()).count();
    assert_eq!(connected(&mut provider), 2);
    for expected in [3, 4] {
        assert!(provider.accept(listener).unwrap().is_some());
        wait(&mut provider, MS);
        assert_eq!(connected(&mut provider), expected);
    }
}

#[test]
fn a_closed_listener_resets_its_queue() {
    let network = SimulatedNetwork::seeded(1);
    let mut provider = network.provider();
    let spec = ListenSpec { backlog: 0, ..ListenSpec::new(inet("10.0.0.1:80")) };
    let (listener, address) = provider.listen(&spec).unwrap();
    let queued = provider.connect(&to(address.clone())).unwrap();
    let waiting = provider.connect(&to(address)).unwrap();
    wait(&mut provider, MS);
    provider.set_reading(queued, true).unwrap();
    provider.close(listener);
    wait(&mut provider, MS);
    assert_eq!(receive(&mut provider, queued), "(ConnectionReset)");
    assert_eq!(kind(provider.finish_connect(waiting)), ErrorKind::ConnectionRefused);
    assert_eq!(network.open_sources(), 2);
}

#[test]
fn listeners_on_a_shared_port_share_its_connections() {
    // SO_REUSEPORT, socket(7).
    let mut provider = kind_network();
    let spec = ListenSpec { reuse_port: true, ..ListenSpec::new(inet("10.0.0.1:80")) };
    let listeners: Vec<Key> = (0..2).map(|_| provider.listen(&spec).unwrap().0).collect();
    for _ in 0..50 {
        provider.connect(&to(inet("10.0.0.1:80"))).unwrap();
    }
    wait(&mut provider, MS);
    let mut accept_all = |listener| std::iter::from_fn(|| provider.accept(listener).unwrap()).count();
    let accepted: Vec<usize> = listeners.into_iter().map(&mut accept_all).collect();
    assert!(accepted.iter().all(|&count| count > 10), "{accepted:?}");
    assert_eq!(accepted.iter().sum::<usize>(), 50);
}

#[test]
fn a_year_of_virtual_time_takes_no_real_time() {
    let mut provider = kind_network();
    let year = Duration::from_secs(365 * 24 * 3600);
    assert_eq!(wait(&mut provider, year), []);
    assert_eq!(provider.now(), Moment::ZERO + year);
    assert_eq!(provider.wall_clock(), SystemTime::UNIX_EPOCH + year);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    assert_eq!(provider.now(), Moment::ZERO + year);
}

#[test]
fn time_stops_at_every_happening() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS));
    let (client, server) = pair(&mut provider);
    let begin = provider.now();
    provider.send_slice(client, b"one").unwrap();
    assert_eq!(wait(&mut provider, 4 * MS), []);
    assert_eq!(provider.now(), begin + 4 * MS);
    provider.send_slice(client, b"two").unwrap();
    assert_eq!(ready(&wait(&mut provider, Duration::from_secs(9)), server), Ready::READ);
    assert_eq!(provider.now(), begin + 10 * MS);
    assert_eq!(receive(&mut provider, server), "one");
    assert_eq!(ready(&wait(&mut provider, Duration::from_secs(9)), server), Ready::READ);
    assert_eq!(provider.now(), begin + 14 * MS);
}

#[test]
fn time_does_not_pass_the_horizon() {
    let network = SimulatedNetwork::seeded(1);
    let mut provider = network.provider();
    network.set_horizon(Some(Moment::ZERO + 5 * MS));
    assert_eq!(wait(&mut provider, Duration::from_secs(1)), []);
    assert_eq!(provider.now(), Moment::ZERO + 5 * MS);
    let mut events = Events::new();
    provider.wait(None, &mut events).unwrap();
    assert_eq!(provider.now(), Moment::ZERO + 5 * MS);
}

#[test]
fn the_next_wait_returns_at_once_after_an_early_wake() {
    let mut provider = kind_network();
    provider.waker().wake();
    provider.waker().wake();
    assert_eq!(wait(&mut provider, Duration::from_secs(1)), []);
    assert_eq!(provider.now(), Moment::ZERO);
    wait(&mut provider, Duration::from_secs(1));
    assert_eq!(provider.now(), Moment::ZERO + Duration::from_secs(1));
}

#[test]
fn an_endless_wait_blocks_until_another_thread_wakes_it() {
    let mut provider = kind_network();
    let waker = provider.waker();
    let waiting = thread::spawn(move || {
        let mut events = Events::new();
        provider.wait(None, &mut events).unwrap();
        (events, provider.now())
    });
    waker.wake();
    assert_eq!(waiting.join().unwrap(), (Events::new(), Moment::ZERO));
}

#[test]
fn an_endless_wait_sees_a_connection_from_another_thread() {
    let network = SimulatedNetwork::seeded(1);
    let mut provider = network.provider();
    let listener = listen(&mut provider, &inet("10.0.0.1:80"));
    let waiting = thread::spawn(move || {
        let mut events = Events::new();
        provider.wait(None, &mut events).unwrap();
        events
    });
    let _client = network.connect_stream(inet("10.0.0.1:80"));
    assert_eq!(waiting.join().unwrap(), [Event { key: listener, ready: Ready::READ }]);
}

#[test]
fn readable_bytes_are_reported_while_reading_is_on() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"abc").unwrap();
    for _ in 0..2 {
        assert_eq!(ready(&wait(&mut provider, MS), server), Ready::READ);
    }
    provider.set_reading(server, false).unwrap();
    assert_eq!(wait(&mut provider, MS), []);
    provider.set_reading(server, true).unwrap();
    assert_eq!(ready(&wait(&mut provider, MS), server), Ready::READ);
    receive(&mut provider, server);
    assert_eq!(wait(&mut provider, MS), []);
}

#[test]
fn a_receive_that_fills_the_buffer_is_not_drained() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"abcd").unwrap();
    wait(&mut provider, MS);
    let mut scratch = [0; 2];
    for part in [b"ab", b"cd"] {
        assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Filled(2))));
        assert_eq!(&scratch, part);
    }
    assert!(matches!(provider.receive(server, &mut scratch), Ok(Received::Empty)));
}

#[test]
fn room_in_a_full_buffer_is_reported_once() {
    let mut provider = Simulated::new(1, Faults::none().buffer(900));
    let (client, server) = pair(&mut provider);
    provider.set_reading(server, false).unwrap();
    let mut outbox = Outbox::new();
    outbox.write(&[b'x'; 1000]);
    assert_eq!(provider.send(client, &mut outbox).unwrap(), Sent::Some);
    assert_eq!(outbox.len(), 100);
    assert_eq!(provider.send_slice(client, b"x").unwrap(), 0);
    assert_eq!(wait(&mut provider, MS), []);
    let mut scratch = [0; 299];
    provider.receive(server, &mut scratch).unwrap();
    assert_eq!(wait(&mut provider, MS), [], "less than a third is free");
    provider.receive(server, &mut scratch[..1]).unwrap();
    assert_eq!(wait(&mut provider, MS), [Event { key: client, ready: Ready::WRITE }]);
    assert_eq!(wait(&mut provider, MS), []);
    assert_eq!(provider.send(client, &mut outbox).unwrap(), Sent::All);
    assert!(outbox.is_empty());
    assert_eq!(wait(&mut provider, MS), []);
}

#[test]
fn one_direction_can_finish_alone() {
    // shutdown(2) with SHUT_WR.
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"last").unwrap();
    provider.shutdown_write(client).unwrap();
    assert_eq!(kind(provider.send_slice(client, b"x")), ErrorKind::BrokenPipe);
    assert_eq!(ready(&wait(&mut provider, MS), server), Ready::READ);
    assert_eq!(receive(&mut provider, server), "last");
    assert_eq!(ready(&wait(&mut provider, MS), server), Ready::READ);
    assert_eq!(receive(&mut provider, server), "(eof)");
    provider.send_slice(server, b"answer").unwrap();
    provider.shutdown_write(server).unwrap();
    provider.set_reading(server, false).unwrap();
    wait(&mut provider, MS);
    assert_eq!(receive(&mut provider, client), "answer");
    assert_eq!(ready(&wait(&mut provider, MS), client), Ready::READ | Ready::HANGUP);
    assert_eq!(receive(&mut provider, client), "(eof)");
}

#[test]
fn bytes_sent_before_a_close_are_delivered() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS));
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"the end").unwrap();
    provider.close(client);
    assert_eq!(kind(provider.send_slice(client, b"x")), ErrorKind::NotFound);
    assert_eq!(ready(&wait(&mut provider, Duration::from_secs(1)), server), Ready::READ);
    assert_eq!(receive(&mut provider, server), "the end");
    assert_eq!(receive(&mut provider, server), "(eof)");
}

#[test]
fn a_close_with_unread_bytes_resets_the_peer() {
    // RFC 1122 4.2.2.13: a reset informs the peer that its bytes were lost.
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"unread").unwrap();
    wait(&mut provider, MS);
    provider.close(server);
    assert!(ready(&wait(&mut provider, MS), client).contains(Ready::READ | Ready::ERROR));
    assert_eq!(receive(&mut provider, client), "(ConnectionReset)");
    assert_eq!(kind(provider.send_slice(client, b"x")), ErrorKind::ConnectionReset);
}

#[test]
fn bytes_that_arrive_at_a_closed_end_are_answered_with_a_reset() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS));
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"under way").unwrap();
    provider.close(server);
    assert_eq!(ready(&wait(&mut provider, Duration::from_secs(1)), client), Ready::READ);
    assert_eq!(receive(&mut provider, client), "(eof)");
    provider.set_reading(client, false).unwrap();
    assert!(ready(&wait(&mut provider, Duration::from_secs(1)), client).contains(Ready::ERROR));
    assert_eq!(kind(provider.send_slice(client, b"x")), ErrorKind::BrokenPipe);
}

#[test]
fn bytes_to_a_closed_end_cause_a_reset_after_a_round_trip() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS).buffer(100));
    let (client, server) = pair(&mut provider);
    provider.close(server);
    wait(&mut provider, Duration::from_secs(1));
    assert_eq!(receive(&mut provider, client), "(eof)");
    provider.set_reading(client, false).unwrap();
    let sent = provider.now();
    let mut outbox = Outbox::new();
    outbox.write(&[0; 101]);
    assert_eq!(provider.send(client, &mut outbox).unwrap(), Sent::Some, "the bytes are not acknowledged");
    let events = wait(&mut provider, Duration::from_secs(1));
    assert_eq!(ready(&events, client), Ready::WRITE | Ready::ERROR | Ready::HANGUP);
    assert_eq!(provider.now(), sent + 20 * MS);
    assert_eq!(kind(provider.send(client, &mut outbox)), ErrorKind::BrokenPipe, "the reset follows the end");
}

#[test]
fn an_end_that_precedes_a_reset_is_read_on_tcp() {
    // tcp_recvmsg of Linux returns the end first, and unix_stream_recvmsg the reset.
    let cases = [
        (inet("10.0.0.1:80"), false, "(eof)", ErrorKind::BrokenPipe),
        (inet("10.0.0.1:80"), true, "(eof)", ErrorKind::ConnectionReset),
        (Address::Unix(Path::new("/run/socket").into()), false, "(ConnectionReset)", ErrorKind::BrokenPipe),
    ];
    for (address, is_shut_down, read, sent) in cases {
        let mut provider = kind_network();
        let (client, server) = pair_at(&mut provider, &address);
        provider.send_slice(client, b"unread").unwrap();
        provider.shutdown_write(server).unwrap();
        if is_shut_down {
            provider.shutdown_write(client).unwrap();
        }
        wait(&mut provider, MS);
        provider.close(server);
        wait(&mut provider, MS);
        assert_eq!(receive(&mut provider, client), read, "at {address}");
        assert_eq!(kind(provider.send_slice(client, b"x")), sent, "at {address}");
    }
}

#[test]
fn an_abort_drops_only_bytes_under_way() {
    let mut provider = Simulated::new(1, Faults::none().latency(10 * MS));
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"unread").unwrap();
    wait(&mut provider, Duration::from_secs(1));
    provider.send_slice(client, b"under way").unwrap();
    provider.abort(client);
    provider.set_reading(server, false).unwrap();
    wait(&mut provider, 20 * MS);
    provider.set_reading(server, true).unwrap();
    assert_eq!(ready(&wait(&mut provider, MS), server), Ready::READ | Ready::ERROR | Ready::HANGUP);
    assert_eq!(receive(&mut provider, server), "unread");
    assert_eq!(receive(&mut provider, server), "(ConnectionReset)");
}

#[test]
fn a_client_closed_while_connecting_leaves_nothing_behind() {
    let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().latency(10 * MS));
    let mut provider = network.provider();
    let listener = listen(&mut provider, &inet("10.0.0.1:80"));
    let early = provider.connect(&to(inet("10.0.0.1:80"))).unwrap();
    provider.close(early);
    assert_eq!(wait(&mut provider, 30 * MS), []);
    let late = provider.connect(&to(inet("10.0.0.1:80"))).unwrap();
    assert_eq!(ready(&wait(&mut provider, 15 * MS), listener), Ready::READ);
    provider.close(late);
    let (server, _) = provider.accept(listener).unwrap().unwrap();
    provider.set_reading(server, true).unwrap();
    assert!(ready(&wait(&mut provider, 30 * MS), server).contains(Ready::ERROR));
    provider.close(server);
    provider.close(listener);
    assert_eq!(network.open_sources(), 0);
}

#[test]
fn a_closed_key_is_stale_within_its_batch_of_events() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.send_slice(client, b"a").unwrap();
    provider.send_slice(server, b"b").unwrap();
    let events = wait(&mut provider, MS);
    assert_eq!(events.len(), 2);
    provider.close(events[0].key);
    provider.close(events[1].key);
    assert_eq!(kind(provider.receive(events[1].key, &mut [0; 8])), ErrorKind::NotFound);
    assert_eq!(kind(provider.set_reading(client, true)), ErrorKind::NotFound);
    assert_eq!(kind(provider.finish_connect(client)), ErrorKind::NotFound);
    provider.abort(server);
    assert_eq!(wait(&mut provider, MS), []);
}

#[test]
fn options_keep_their_values() {
    let mut provider = kind_network();
    let (client, server) = pair(&mut provider);
    provider.set_option(client, SocketOption::NoDelay, true).unwrap();
    assert!(provider.option(client, SocketOption::NoDelay).unwrap());
    assert!(!provider.option(client, SocketOption::KeepAlive).unwrap());
    assert!(!provider.option(server, SocketOption::NoDelay).unwrap());
    provider.set_option(client, SocketOption::NoDelay, false).unwrap();
    assert!(!provider.option(client, SocketOption::NoDelay).unwrap());
}

#[test]
fn a_reset_in_a_send_breaks_both_ends() {
    let mut provider = Simulated::new(1, Faults::none().resets(1.0));
    let (client, server) = pair(&mut provider);
    assert_eq!(provider.send_slice(client, b"lost").unwrap(), 4);
    wait(&mut provider, MS);
    for key in [client, server] {
        assert_eq!(receive(&mut provider, key), "(ConnectionReset)");
    }
}

#[test]
fn attempts_are_refused_with_the_given_probability() {
    let mut provider = Simulated::new(1, Faults::none().refused(0.3));
    let spec = ListenSpec { backlog: 1000, ..ListenSpec::new(inet("10.0.0.1:80")) };
    provider.listen(&spec).unwrap();
    let clients: Vec<Key> = (0..1000).map(|_| provider.connect(&to(inet("10.0.0.1:80"))).unwrap()).collect();
    wait(&mut provider, MS);
    let refused = clients.iter().filter(|&&client| provider.finish_connect(client).is_err()).count();
    assert!((250..350).contains(&refused), "{refused}");
}

#[test]
fn partial_or_lent_transfers_lose_no_bytes() {
    let faults = Faults::none().short_reads().short_writes().lent_reads().jitter(3 * MS).buffer(500);
    let mut provider = Simulated::new(5, faults);
    let (client, server) = pair(&mut provider);
    let mut random = Random::new(99);
    let sent: Vec<u8> = (0..20_000).map(|_| random.below(256) as u8).collect();
    let (mut outbox, mut received, mut lent, mut short) = (Outbox::new(), Vec::new(), 0, 0);
    outbox.write_bytes(Bytes::from(sent.clone()));
    let mut scratch = [0; 1000];
    while received.len() < sent.len() {
        if provider.send(client, &mut outbox).unwrap() == Sent::Some && outbox.len() % 500 != 0 {
            short += 1;
        }
        wait(&mut provider, Duration::from_secs(1));
        match provider.receive(server, &mut scratch).unwrap() {
            Received::Filled(count) | Received::Drained(count) => received.extend_from_slice(&scratch[..count]),
            Received::Lent(chunk) => {
                lent += 1;
                received.extend_from_slice(&chunk);
            }
            Received::Empty => {}
            Received::Eof => panic!("the stream ended early"),
        }
    }
    assert!(received == sent);
    assert!(lent > 10 && short > 10, "{lent} lent, {short} short");
}

#[test]
fn a_spurious_event_finds_nothing() {
    let mut provider = Simulated::new(3, Faults::none().spurious_events());
    let (client, server) = pair(&mut provider);
    let mut spurious = 0;
    for _ in 0..100 {
        assert_eq!(wait(&mut provider, MS), [], "an idle network must stay idle");
        provider.send_slice(client, b"x").unwrap();
        let events = wait(&mut provider, MS);
        assert_eq!(receive(&mut provider, server), "x");
        if ready(&events, client) == Ready::READ {
            spurious += 1;
            assert_eq!(receive(&mut provider, client), "(empty)");
        }
    }
    assert!((10..50).contains(&spurious), "{spurious}");
}

#[test]
fn missing_interfaces_are_named_in_errors() {
    let mut provider = kind_network();
    let datagrams = Capabilities::UDP | Capabilities::MULTICAST | Capabilities::UNIX_DATAGRAM;
    let unix = Capabilities::UNIX | Capabilities::DESCRIPTOR_PASSING;
    let expected = Capabilities::TCP | Capabilities::PROCESSES | datagrams | unix;
    assert_eq!(Capabilities::of(&mut provider), expected);
    assert!(provider.watches().is_none() && provider.adoption().is_none() && provider.host_handle().is_none());
}

#[test]
fn streams_are_closed_with_their_provider() {
    let network = SimulatedNetwork::seeded(1);
    let mut provider = network.provider();
    listen(&mut provider, &inet("10.0.0.1:80"));
    let stream = network.connect_stream(inet("10.0.0.1:80"));
    wait(&mut provider, MS);
    assert!(stream.is_connected());
    drop(provider);
    network.advance(Duration::ZERO);
    assert!(stream.is_reset());
    assert_eq!(network.open_sources(), 0);
}

/// Returns the results of a random schedule of calls, in order.
fn trace(seed: u64) -> Vec<String> {
    let faults = Faults::none().short_reads().short_writes().lent_reads().shuffled().spurious_events();
    let faults = faults.resets(0.02).refused(0.1).latency(MS).jitter(5 * MS).buffer(300);
    let mut provider = Simulated::new(seed, faults);
    let mut random = Random::new(7);
    let listener = listen(&mut provider, &inet("10.0.0.1:80"));
    let (mut keys, mut trace) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        if keys.len() < 8 {
            keys.push(provider.connect(&to(inet("10.0.0.1:80"))).unwrap());
        }
        let key = keys[random.below(keys.len())];
        match random.below(8) {
            0 => provider.close(keys.swap_remove(random.below(keys.len()))),
            1 => trace.push(format!("{:?}", provider.shutdown_write(key).map_err(|error| error.kind()))),
            _ => trace.push(format!("{:?}", provider.send_slice(key, &[7; 90]).map_err(|error| error.kind()))),
        }
        let events = wait(&mut provider, 2 * MS);
        trace.push(format!("{:?} {events:?}", provider.now()));
        for event in events {
            if event.key == listener {
                keys.extend(provider.accept(listener).unwrap().map(|(key, _)| key));
            } else {
                trace.push(receive(&mut provider, event.key));
            }
        }
        for &key in &keys {
            provider.set_reading(key, true).unwrap();
        }
    }
    trace
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed));
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn without_descriptors_connections_stay_in_the_queue() {
    // accept(2), EMFILE: the connection stays in the queue.
    let network = SimulatedNetwork::seeded(1).with_faults(Faults::none().descriptors(2));
    let mut provider = network.provider();
    let listener = listen(&mut provider, &inet("10.0.0.1:80"));
    let clients: Vec<_> = (0..2).map(|_| network.connect_stream(inet("10.0.0.1:80"))).collect();
    wait(&mut provider, MS);
    let (first, _) = provider.accept(listener).unwrap().unwrap();
    assert!(provider.accept(listener).is_err());
    assert!(provider.listen(&ListenSpec::new(inet("10.0.0.1:81"))).is_err());
    assert!(provider.connect(&to(inet("10.0.0.1:80"))).is_err());
    provider.close(first);
    assert!(provider.accept(listener).unwrap().is_some());
    assert!(clients[1].is_connected());
}
