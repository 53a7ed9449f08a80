//! UNIX sockets.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use ropewalk_proto::Address;
use ropewalk_sys::{ConnectSpec, ListenSpec, Ready, Received};

use crate::bench::{Bench, Directory, assert_kind, unix_address};

pub(crate) fn a_closed_port_removes_its_path(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    let (port, address) = bench.streams().listen(&ListenSpec::new(unix_address(&path))).unwrap();
    assert_eq!(address, unix_address(&path));
    bench.streams().set_reading(port, true).unwrap();
    let client = bench.streams().connect(&ConnectSpec { address: address.clone(), bind: None }).unwrap();
    bench.expect(client, Ready::WRITE);
    bench.streams().finish_connect(client).unwrap();
    let (server, peer) = bench.streams().accept(port).unwrap().expect("a connection");
    assert_eq!(peer, Address::Unnamed);
    assert_eq!(bench.sockets().local_address(server).unwrap(), address);
    assert_eq!(bench.sockets().peer_address(client).unwrap(), address);
    bench.streams().close(port);
    assert!(!path.exists());
}

pub(crate) fn the_mode_is_that_of_the_file(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    let spec = ListenSpec { mode: Some(0o640), ..ListenSpec::new(unix_address(&path)) };
    bench.streams().listen(&spec).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
}

pub(crate) fn the_file_of_a_successor_is_left_alone(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    let (port, _) = bench.streams().listen(&ListenSpec::new(unix_address(&path))).unwrap();
    // The old file stays under another name, so that its inode number is not given to the new one.
    fs::rename(&path, directory.path("old")).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    bench.streams().close(port);
    UnixStream::connect(&path).unwrap();
}

pub(crate) fn a_path_that_exists_is_in_use(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    fs::write(&path, "precious").unwrap();
    assert_kind(bench.streams().listen(&ListenSpec::new(unix_address(&path))), ErrorKind::AddrInUse);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

pub(crate) fn a_path_that_is_too_long_is_an_error(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path(&"x".repeat(200));
    let error = bench.streams().listen(&ListenSpec::new(unix_address(&path))).unwrap_err();
    assert!(error.to_string().contains("long"), "{error}");
    bench.streams().connect(&ConnectSpec { address: unix_address(&path), bind: None }).unwrap_err();
}

/// connect(2), EAGAIN: no attempt was begun, so no event would ever come.
pub(crate) fn a_full_backlog_is_an_error(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    let spec = ListenSpec { backlog: 0, ..ListenSpec::new(unix_address(&path)) };
    bench.streams().listen(&spec).unwrap();
    let error = (0..10)
        .find_map(|_| bench.streams().connect(&ConnectSpec { address: unix_address(&path), bind: None }).err())
        .expect("a full backlog");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

pub(crate) fn dropping_the_provider_removes_the_file(bench: &mut Bench) {
    let directory = Directory::new();
    let path = directory.path("socket");
    bench.streams().listen(&ListenSpec::new(unix_address(&path))).unwrap();
    bench.provider = crate::open(bench.provider.name());
    assert!(!path.exists());
}

/// poll(2): EPOLLHUP comes together with EPOLLIN, and must not hide it.
pub(crate) fn the_hang_up_of_a_peer_comes_after_its_bytes(bench: &mut Bench) {
    let (key, mut peer) = bench.unix_connection();
    peer.write_all(&[9; 100_000]).unwrap();
    drop(peer);
    bench.streams().set_reading(key, true).unwrap();
    bench.expect(key, Ready::READ);
    assert_eq!(bench.read_to_end(key).len(), 100_000);
}

/// An owner that reads until there is no more finds the end in the same turn.
pub(crate) fn receive_reports_more_to_come_before_a_known_hang_up(bench: &mut Bench) {
    let (key, mut peer) = bench.unix_connection();
    peer.write_all(b"bye").unwrap();
    drop(peer);
    bench.streams().set_reading(key, true).unwrap();
    let hung_up = bench.expect(key, Ready::READ).ready.contains(Ready::HANGUP);
    let name = bench.provider.name();
    assert_eq!(hung_up, ["epoll", "poll"].contains(&name), "{name}");
    match bench.receive(key).unwrap() {
        // io_uring has seen an end, and cannot tell whether it is that of one direction or of both.
        Received::Filled(3) => assert!(hung_up || name == "uring"),
        Received::Drained(3) => assert_eq!(name, "select", "select cannot tell"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(bench.receive(key), Ok(Received::Eof)));
}
