//! Bytes over connections, and their end.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

use bytes::Bytes;
use ropewalk_proto::Outbox;
use ropewalk_sys::{Ready, Received, Sent, SocketOption};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::bench::{Bench, MOMENT, assert_kind, drain};

pub(crate) fn bytes_go_both_ways(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    for _ in 0..3 {
        peer.write_all(b"ping").unwrap();
        bench.expect(key, Ready::READ);
        let Received::Drained(4) = bench.receive(key).unwrap() else { panic!() };
        assert_eq!(&bench.scratch[..4], b"ping");
        let mut outbox = Outbox::new();
        outbox.write(b"pong");
        assert_eq!(bench.streams().send(key, &mut outbox).unwrap(), Sent::All);
        bench.let_leave();
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
    }
}

pub(crate) fn a_partly_filled_buffer_means_that_no_bytes_are_left(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    peer.write_all(b"abc").unwrap();
    bench.expect(key, Ready::READ);
    assert!(matches!(bench.receive(key), Ok(Received::Drained(3))));
    assert!(matches!(bench.receive(key), Ok(Received::Empty)));
}

pub(crate) fn a_full_buffer_means_that_more_bytes_may_follow(bench: &mut Bench) {
    let (key, _peer) = bench.read_in_part();
    bench.expect(key, Ready::READ);
    assert!(matches!(bench.receive(key), Ok(Received::Drained(2))));
}

/// A read stops at the urgent mark, tcp(7), although more bytes follow.
///
/// Not tested in bulk on `uring`, whose multishot poll reports "urgent" for all data.
pub(crate) fn bytes_behind_urgent_data_are_read(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    peer.write_all(b"before").unwrap();
    rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    assert_eq!(bench.read(key, 12), b"beforebehind");
}

/// A read stops at descriptors that were passed, unix(7), although more bytes follow.
pub(crate) fn bytes_behind_passed_descriptors_are_read(bench: &mut Bench) {
    let (key, mut peer) = bench.unix_connection();
    peer.write_all(b"before").unwrap();
    let passed = [peer.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[IoSlice::new(b"with")], &mut control, SendFlags::empty()).unwrap();
    peer.write_all(b"behind").unwrap();
    assert_eq!(bench.read(key, 16), b"beforewithbehind");
}

pub(crate) fn unread_bytes_come_before_the_end_of_the_stream(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    peer.write_all(b"last words").unwrap();
    drop(peer);
    bench.expect(key, Ready::READ);
    assert_eq!(bench.read_to_end(key), b"last words");
}

pub(crate) fn the_end_of_a_stream_is_reported_after_its_last_bytes(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(MOMENT);
    assert_eq!(bench.read(key, 10), b"last words");
    bench.expect(key, Ready::READ);
    assert!(matches!(bench.receive(key), Ok(Received::Eof)));
}

pub(crate) fn the_end_of_the_stream_differs_from_no_data(bench: &mut Bench) {
    let (key, peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    assert!(matches!(bench.receive(key), Ok(Received::Empty)));
    drop(peer);
    bench.expect(key, Ready::READ);
    for _ in 0..2 {
        assert!(matches!(bench.receive(key), Ok(Received::Eof)));
    }
}

pub(crate) fn a_half_closed_connection_still_receives(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    let mut outbox = Outbox::new();
    outbox.write(b"question");
    bench.streams().send(key, &mut outbox).unwrap();
    bench.streams().shutdown_write(key).unwrap();
    let mut question = Vec::new();
    peer.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");
    peer.write_all(b"answer").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    bench.expect(key, Ready::READ);
    assert_eq!(bench.read_to_end(key), b"answer");
}

pub(crate) fn a_large_outbox_arrives_unchanged(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = Outbox::new();
    let mut expected = Vec::new();
    for round in 0..200u32 {
        let large: Vec<u8> = (0..round * 173).map(|at| (at + round) as u8).collect();
        outbox.write(&large[..large.len() / 3]);
        outbox.write_bytes(Bytes::from(large[large.len() / 3..].to_vec()));
        expected.extend_from_slice(&large);
    }
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    while bench.streams().send(key, &mut outbox).unwrap() == Sent::Some {
        bench.expect(key, Ready::WRITE);
    }
    bench.streams().close(key);
    assert!(reader.join().unwrap() == expected);
}

/// The share of one connection in a turn: 256 KiB.
pub(crate) fn one_call_of_send_takes_only_its_share(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = Outbox::new();
    outbox.write(&vec![1; 1024 * 1024]);
    assert_eq!(bench.streams().send(key, &mut outbox).unwrap(), Sent::Some);
    assert!((1..=256 * 1024).contains(&(1024 * 1024 - outbox.len())));
    drain(&mut peer);
    bench.expect(key, Ready::WRITE);
}

pub(crate) fn a_used_up_share_is_followed_by_the_next(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = bench.fill(key);
    // From here on the selector is armed for writing.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes.len())
    });
    while bench.streams().send(key, &mut outbox).unwrap() == Sent::Some {
        bench.expect(key, Ready::WRITE);
    }
    bench.streams().close(key);
    assert_eq!(reader.join().unwrap().unwrap(), 16 * 1024 * 1024);
}

pub(crate) fn a_slice_is_sent_as_far_as_it_goes(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    assert_eq!(bench.streams().send_slice(key, b"whole").unwrap(), 5);
    peer.read_exact(&mut [0; 5]).unwrap();
    let large = vec![0; 64 * 1024 * 1024];
    assert!((1..large.len()).contains(&bench.streams().send_slice(key, &large).unwrap()));
    while bench.streams().send_slice(key, &large).unwrap() > 0 {}
    assert_eq!(bench.settle(), [], "send_slice does not wait for write readiness");
}

/// MSG_NOSIGNAL, send(2). Rust's runtime ignores SIGPIPE, so the test restores the default: SIGPIPE kills the process.
pub(crate) fn writing_to_a_broken_connection_raises_no_signal(bench: &mut Bench) {
    let (key, peer) = bench.unix_connection();
    drop(peer);
    // SAFETY: SIG_DFL is a valid disposition.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_kind(bench.streams().send_slice(key, b"x"), ErrorKind::BrokenPipe);
    let mut outbox = Outbox::new();
    outbox.write_bytes(Bytes::from(vec![1; 20_000]));
    outbox.write(b"and a second slice");
    assert_kind(bench.streams().send(key, &mut outbox), ErrorKind::BrokenPipe);
    // SAFETY: this is the earlier disposition.
    unsafe { libc::signal(libc::SIGPIPE, before) };
}

pub(crate) fn an_aborted_connection_is_reset(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = Outbox::new();
    outbox.write(b"x");
    bench.streams().send(key, &mut outbox).unwrap();
    bench.streams().abort(key);
    // Bytes from before the reset may or may not be readable.
    let error = (0..2).find_map(|_| peer.read(&mut [0]).err()).expect("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (unix, mut peer) = bench.unix_connection();
    bench.streams().abort(unix);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

pub(crate) fn bytes_sent_before_a_close_arrive(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = Outbox::new();
    outbox.write(&[5; 100_000]);
    assert_eq!(bench.streams().send(key, &mut outbox).unwrap(), Sent::All);
    bench.streams().close(key);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 100_000);
}

pub(crate) fn options_can_be_switched(bench: &mut Bench) {
    let (key, _peer) = bench.connection();
    for option in [SocketOption::NoDelay, SocketOption::KeepAlive] {
        assert!(!bench.sockets().option(key, option).unwrap());
        bench.sockets().set_option(key, option, true).unwrap();
        assert!(bench.sockets().option(key, option).unwrap());
        bench.sockets().set_option(key, option, false).unwrap();
        assert!(!bench.sockets().option(key, option).unwrap());
    }
}

pub(crate) fn a_stale_key_is_not_found(bench: &mut Bench) {
    let (key, _peer) = bench.connection();
    bench.streams().close(key);
    let (successor, mut peer) = bench.connection();
    bench.streams().close(key);
    bench.streams().abort(key);
    let stale = ErrorKind::NotFound;
    assert_kind(bench.receive(key), stale);
    assert_kind(bench.streams().send(key, &mut Outbox::new()), stale);
    assert_kind(bench.streams().send_slice(key, b"x"), stale);
    assert_kind(bench.streams().accept(key), stale);
    assert_kind(bench.streams().set_reading(key, true), stale);
    assert_kind(bench.streams().shutdown_write(key), stale);
    assert_kind(bench.streams().finish_connect(key), stale);
    assert_kind(bench.sockets().local_address(key), stale);
    assert!(bench.sockets().raw_socket(key).is_none());
    assert_eq!(bench.streams().send_slice(successor, b"alive").unwrap(), 5);
    peer.read_exact(&mut [0; 5]).unwrap();
}

pub(crate) fn a_reused_place_does_not_report_for_its_predecessor(bench: &mut Bench) {
    let (port, address) = bench.port();
    let mut old_peer = TcpStream::connect(address).unwrap();
    let old = bench.accepted(port);
    bench.streams().set_reading(old, true).unwrap();
    old_peer.write_all(b"for the old one").unwrap();
    bench.expect(old, Ready::READ);
    bench.streams().close(old);
    let _new_peer = TcpStream::connect(address).unwrap();
    let new = bench.accepted(port);
    assert_eq!((old.index(), bench.sockets().raw_socket(old)), (new.index(), None));
    bench.streams().set_reading(new, true).unwrap();
    assert_eq!(bench.settle(), []);
}

pub(crate) fn dropping_the_provider_closes_everything(bench: &mut Bench) {
    let (port, address) = bench.port();
    let (_, mut peer) = bench.connection();
    let mut queued = TcpStream::connect(address).unwrap();
    let accepted = bench.accepted(port);
    bench.streams().set_reading(accepted, true).unwrap();
    bench.provider = crate::open(bench.provider.name());
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(queued.read(&mut [0]).unwrap(), 0);
    assert_kind(TcpStream::connect(address), ErrorKind::ConnectionRefused);
}
