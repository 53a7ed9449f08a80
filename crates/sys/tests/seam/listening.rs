//! Ports, and adopted sockets.

use std::io::{ErrorKind, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{Kind, ListenSpec, Ready, Received};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use crate::bench::{Bench, assert_kind, loopback, pipe};

pub(crate) fn a_port_returns_none_after_its_last_connection(bench: &mut Bench) {
    let (port, address) = bench.port();
    let peers: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    bench.expect(port, Ready::READ);
    for peer in &peers {
        let (key, from) = bench.streams().accept(port).unwrap().expect("a connection");
        assert_eq!(from, Address::Inet(peer.local_addr().unwrap()));
        assert_eq!(bench.sockets().peer_address(key).unwrap(), from);
        assert_eq!(bench.sockets().local_address(key).unwrap(), Address::Inet(address));
    }
    assert!(bench.streams().accept(port).unwrap().is_none());
    assert_eq!(bench.settle(), []);
}

pub(crate) fn an_accepted_connection_has_its_flags_set(bench: &mut Bench) {
    let (key, _peer) = bench.connection();
    // SAFETY: the provider keeps the descriptor open for the whole test.
    let fd = unsafe { BorrowedFd::borrow_raw(bench.sockets().raw_socket(key).unwrap()) };
    assert!(fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK));
    assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    assert!(matches!(bench.receive(key), Ok(Received::Empty)));
}

pub(crate) fn listening_on_a_used_port_is_an_error(bench: &mut Bench) {
    let (_, address) = bench.port();
    assert_kind(bench.streams().listen(&ListenSpec::new(address.into())), ErrorKind::AddrInUse);
}

/// SO_REUSEADDR: a connection in TIME_WAIT does not hold the port.
pub(crate) fn a_port_can_be_bound_again_at_once(bench: &mut Bench) {
    let (port, address) = bench.port();
    let mut peer = TcpStream::connect(address).unwrap();
    let connection = bench.accepted(port);
    bench.streams().close(connection);
    bench.streams().close(port);
    assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
    drop(peer);
    bench.streams().listen(&ListenSpec::new(address.into())).unwrap();
}

pub(crate) fn two_ports_share_an_address_only_when_both_ask(bench: &mut Bench) {
    let shared = ListenSpec { reuse_port: true, ..ListenSpec::new(loopback()) };
    let (_, address) = bench.streams().listen(&shared).unwrap();
    assert_kind(bench.streams().listen(&ListenSpec::new(address.clone())), ErrorKind::AddrInUse);
    let again = ListenSpec { address, ..shared };
    bench.streams().listen(&again).unwrap();
}

pub(crate) fn an_ipv6_wildcard_takes_ipv4_by_default(bench: &mut Bench) {
    let wildcard = Address::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let both = ListenSpec::new(wildcard.clone());
    let (_, address) = bench.streams().listen(&both).unwrap();
    let port = address.inet().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    TcpStream::connect(("::1", port)).unwrap();

    let (_, address) = bench.streams().listen(&ListenSpec { dual_stack: false, ..both }).unwrap();
    let port = address.inet().unwrap().port();
    TcpStream::connect(("::1", port)).unwrap();
    assert_kind(TcpStream::connect(("127.0.0.1", port)), ErrorKind::ConnectionRefused);
}

/// Linux accepts a connection whose peer is gone, and other systems return ECONNABORTED. Either way the next one is
/// served.
pub(crate) fn a_connection_reset_before_accept_affects_no_other(bench: &mut Bench) {
    let (port, address) = bench.port();
    let reset = TcpStream::connect(address).unwrap();
    sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
    drop(reset);
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"served").unwrap();
    let mut served = false;
    bench.expect(port, Ready::READ);
    while let Some((key, _)) = bench.streams().accept(port).unwrap() {
        bench.streams().set_reading(key, true).unwrap();
        bench.expect(key, Ready::READ);
        served |= matches!(bench.receive(key), Ok(Received::Drained(6)));
    }
    assert!(served);
}

pub(crate) fn an_adopted_port_accepts_connections(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = bench.provider.adoption().unwrap().adopt(OwnedFd::from(listener), Kind::StreamPort).unwrap();
    assert_eq!(bench.sockets().local_address(port).unwrap(), Address::Inet(address));
    assert!(bench.streams().accept(port).unwrap().is_none(), "accept does not block");
    bench.streams().set_reading(port, true).unwrap();
    let _peer = TcpStream::connect(address).unwrap();
    bench.accepted(port);
}

/// Returns a port whose socket another process has as well, that process's listener, and three connected clients.
fn shared_port(bench: &mut Bench) -> (Key, TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, other) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
    let port = bench.provider.adoption().unwrap().adopt(OwnedFd::from(listener), Kind::StreamPort).unwrap();
    bench.streams().set_reading(port, true).unwrap();
    assert_eq!(bench.settle(), []);
    (port, other, (0..3).map(|_| TcpStream::connect(address).unwrap()).collect())
}

fn takes_all(listener: &TcpListener, peers: &[TcpStream]) {
    for peer in peers {
        assert_eq!(listener.accept().unwrap().1, peer.local_addr().unwrap());
    }
}

/// netty#15502 and others: a connection that is accepted in advance holds a descriptor, is reset when the port closes,
/// and is lost to other processes.
pub(crate) fn a_port_accepts_only_on_request(bench: &mut Bench) {
    let (port, other, peers) = shared_port(bench);
    bench.expect(port, Ready::READ);
    assert!(bench.streams().accept(port).unwrap().is_some());
    takes_all(&other, &peers[1..]);
    assert!(bench.streams().accept(port).unwrap().is_none());
    assert_eq!(bench.settle(), []);
    let _late = TcpStream::connect(other.local_addr().unwrap()).unwrap();
    bench.accepted(port);
}

pub(crate) fn a_paused_port_reports_its_queue_when_it_is_resumed(bench: &mut Bench) {
    let (port, other, peers) = shared_port(bench);
    bench.expect(port, Ready::READ);
    bench.streams().set_reading(port, false).unwrap();
    assert_eq!(bench.settle(), []);
    takes_all(&other, &peers[..1]);
    bench.streams().set_reading(port, true).unwrap();
    bench.accepted(port);
    bench.accepted(port);
    assert!(bench.streams().accept(port).unwrap().is_none());
    assert_eq!(bench.settle(), []);
}

pub(crate) fn an_adopted_blocking_connection_becomes_non_blocking(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, address) = listener.accept().unwrap();
    // std sets FD_CLOEXEC. A parent that passes a socket on clears it.
    rustix::io::fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    let key = bench.provider.adoption().unwrap().adopt(OwnedFd::from(socket), Kind::StreamConnection).unwrap();
    // SAFETY: the provider keeps the descriptor open for the whole test.
    let fd = unsafe { BorrowedFd::borrow_raw(bench.sockets().raw_socket(key).unwrap()) };
    assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    assert!(matches!(bench.receive(key), Ok(Received::Empty)));
    assert_eq!(bench.sockets().peer_address(key).unwrap(), Address::Inet(address));
    bench.streams().set_reading(key, true).unwrap();
    peer.write_all(b"x").unwrap();
    bench.expect(key, Ready::READ);
}

pub(crate) fn a_socket_of_another_kind_is_not_adopted(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (pipe, _writer) = pipe();
    let mut refused =
        |io: OwnedFd, kind| assert_kind(bench.provider.adoption().unwrap().adopt(io, kind), ErrorKind::InvalidInput);
    refused(listener.into(), Kind::StreamConnection);
    refused(connection.into(), Kind::StreamPort);
    refused(datagrams.into(), Kind::StreamConnection);
    let error = refused(pipe.into(), Kind::StreamConnection);
    assert!(error.to_string().contains("not a socket"), "{error}");
}

/// Returns a listener that takes one connection and then lets attempts wait.
pub(crate) fn listener_without_room() -> TcpListener {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(socket.as_fd(), 0).unwrap();
    TcpListener::from(socket)
}
