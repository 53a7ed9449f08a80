//! Connection attempts.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use ropewalk_proto::Address;
use ropewalk_sys::{ConnectSpec, Ready};

use crate::bench::{Bench, assert_kind, dead_address};

pub(crate) fn a_connection_is_reported_as_writable_when_it_is_made(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = bench.connecting(listener.local_addr().unwrap());
    bench.expect(key, Ready::WRITE);
    bench.streams().finish_connect(key).unwrap();
    let (_peer, address) = listener.accept().unwrap();
    assert_eq!(bench.sockets().local_address(key).unwrap(), Address::Inet(address));
    assert_eq!(bench.sockets().peer_address(key).unwrap(), Address::Inet(listener.local_addr().unwrap()));
    assert_eq!(bench.settle(), []);
}

pub(crate) fn a_refused_connection_returns_its_error(bench: &mut Bench) {
    let key = bench.connecting(dead_address());
    bench.expect(key, Ready::WRITE);
    assert_kind(bench.streams().finish_connect(key), ErrorKind::ConnectionRefused);
}

pub(crate) fn a_bound_connection_comes_from_that_address(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let spec = ConnectSpec { address: listener.local_addr().unwrap().into(), bind: Some(bind.into()) };
    let key = bench.streams().connect(&spec).unwrap();
    bench.expect(key, Ready::WRITE);
    bench.streams().finish_connect(key).unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), bind.ip());
    assert_eq!(bench.sockets().local_address(key).unwrap(), Address::Inet(peer));
}

pub(crate) fn binding_to_a_foreign_address_is_an_error(bench: &mut Bench) {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let spec = ConnectSpec { address: dead_address().into(), bind: Some(elsewhere.into()) };
    assert_kind(bench.streams().connect(&spec), ErrorKind::AddrNotAvailable);
}

pub(crate) fn a_connection_over_ipv6_has_ipv6_addresses(bench: &mut Bench) {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address = listener.local_addr().unwrap();
    let key = bench.connecting(address);
    bench.expect(key, Ready::WRITE);
    bench.streams().finish_connect(key).unwrap();
    assert_eq!(bench.sockets().peer_address(key).unwrap(), Address::Inet(address));
    assert!(bench.sockets().local_address(key).unwrap().inet().unwrap().is_ipv6());
}

/// A listener whose queue is full leaves the attempt open: SYN packets are dropped and sent again.
pub(crate) fn an_unknown_outcome_would_block(bench: &mut Bench) {
    let listener = crate::listening::listener_without_room();
    let address = listener.local_addr().unwrap();
    let mut keys: Vec<_> = (0..4).map(|_| bench.connecting(address)).collect();
    bench.settle();
    let outcomes: Vec<_> = keys.iter().map(|&key| bench.streams().finish_connect(key)).collect();
    let pending = keys.split_off(outcomes.iter().position(Result::is_err).expect("one that waits"))[0];
    assert_kind(bench.streams().finish_connect(pending), ErrorKind::WouldBlock);
    drop(listener);
    bench.expect(pending, Ready::WRITE);
    assert_kind(bench.streams().finish_connect(pending), ErrorKind::ConnectionRefused);
}
