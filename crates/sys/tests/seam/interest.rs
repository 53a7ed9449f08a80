//! Interest: the events that are reported, and those that are not.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use ropewalk_proto::Outbox;
use ropewalk_sys::{Event, Ready, Received, Sent};
use rustix::net::sockopt;

use crate::bench::{Bench, drain};

pub(crate) fn nothing_is_reported_before_reading_is_on(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    peer.write_all(b"x").unwrap();
    assert_eq!(bench.settle(), []);
    bench.streams().set_reading(key, true).unwrap();
    assert_eq!(bench.expect(key, Ready::READ), Event { key, ready: Ready::READ });
}

pub(crate) fn reading_that_is_off_reports_nothing(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    bench.streams().set_reading(key, false).unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(bench.settle(), []);
    bench.assert_quiet("the first unwanted report disarmed it");
}

pub(crate) fn switching_reading_on_reports_earlier_data(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    bench.streams().set_reading(key, false).unwrap();
    peer.write_all(b"x").unwrap();
    bench.settle();
    bench.streams().set_reading(key, true).unwrap();
    bench.expect(key, Ready::READ);
    bench.streams().set_reading(key, false).unwrap();
    bench.streams().set_reading(key, true).unwrap();
    bench.expect(key, Ready::READ);
}

/// epoll_ctl(2): EPOLLHUP and EPOLLERR are reported whether asked for or not.
pub(crate) fn a_report_is_repeated_when_reading_is_on_again(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    peer.write_all(b"x").unwrap();
    for _ in 0..3 {
        bench.expect(key, Ready::READ);
        bench.streams().set_reading(key, false).unwrap();
        assert_eq!(bench.settle(), [], "nobody reads");
        bench.streams().set_reading(key, true).unwrap();
    }
    bench.expect(key, Ready::READ);
    bench.streams().set_reading(key, false).unwrap();
    bench.streams().set_reading(key, true).unwrap();
    bench.expect(key, Ready::READ);
    assert!(matches!(bench.receive(key), Ok(Received::Drained(1))));
    bench.streams().set_reading(key, false).unwrap();
    bench.streams().set_reading(key, true).unwrap();
    assert_eq!(bench.settle(), [], "everything was read");
}

pub(crate) fn unread_data_is_reported_when_reading_is_on_again(bench: &mut Bench) {
    let (key, _peer) = bench.read_in_part();
    bench.streams().set_reading(key, false).unwrap();
    assert_eq!(bench.settle(), [], "nobody reads");
    bench.streams().set_reading(key, true).unwrap();
    bench.expect(key, Ready::READ);
    assert!(matches!(bench.receive(key), Ok(Received::Drained(2))));
}

pub(crate) fn a_hang_up_is_reported_once_while_reading_is_off(bench: &mut Bench) {
    let (never_read, peer) = bench.unix_connection();
    let (paused, other_peer) = bench.unix_connection();
    bench.streams().set_reading(paused, true).unwrap();
    bench.streams().set_reading(paused, false).unwrap();
    drop((peer, other_peer));
    bench.expect(paused, Ready::HANGUP);
    bench.assert_reported_once(paused);
    bench.streams().set_reading(never_read, true).unwrap();
    bench.expect(never_read, Ready::READ);
    assert!(matches!(bench.receive(never_read), Ok(Received::Eof)));
}

pub(crate) fn a_reset_is_reported_once_while_reading_is_off(bench: &mut Bench) {
    for sends_end in [false, true] {
        let (key, mut peer) = bench.connection();
        bench.streams().set_reading(key, true).unwrap();
        bench.streams().set_reading(key, false).unwrap();
        peer.write_all(b"x").unwrap();
        if sends_end {
            peer.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(bench.settle(), [], "the end of the stream is not a loss");
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        bench.expect(key, Ready::ERROR);
        bench.assert_reported_once(key);
        assert!(bench.streams().send_slice(key, b"").is_err());
        bench.streams().set_reading(key, true).unwrap();
        bench.expect(key, Ready::READ);
        assert!(matches!(bench.receive(key), Ok(Received::Filled(1) | Received::Drained(1) | Received::Lent(_))));
        bench.streams().close(key);
    }
}

pub(crate) fn a_writable_connection_wakes_a_wait_only_if_asked(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    bench.streams().set_reading(key, true).unwrap();
    let mut outbox = Outbox::new();
    outbox.write(b"hello");
    assert_eq!(bench.streams().send(key, &mut outbox).unwrap(), Sent::All);
    assert_eq!(bench.settle(), []);
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

pub(crate) fn write_readiness_is_reported_once_for_each_partial_send(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = bench.fill(key);
    assert_eq!(bench.settle(), [], "the peer has read nothing");
    drain(&mut peer);
    bench.expect(key, Ready::WRITE);
    bench.assert_quiet("a report is not repeated without a send");
    while bench.streams().send(key, &mut outbox).unwrap() == Sent::Some {
        drain(&mut peer);
        bench.expect(key, Ready::WRITE);
    }
    assert_eq!(bench.settle(), [], "everything was sent");
}

pub(crate) fn unwanted_write_readiness_is_not_reported(bench: &mut Bench) {
    let (key, mut peer) = bench.connection();
    let mut outbox = bench.fill(key);
    while !outbox.is_empty() {
        drain(&mut peer);
        bench.streams().send(key, &mut outbox).unwrap();
    }
    drain(&mut peer);
    assert_eq!(bench.settle(), []);
}

pub(crate) fn a_reset_is_reported_to_an_owner_that_only_writes(bench: &mut Bench) {
    let (key, peer) = bench.connection();
    let mut outbox = bench.fill(key);
    sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    bench.expect(key, Ready::WRITE);
    let error = bench.streams().send(key, &mut outbox).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(bench.settle(), []);
}
