//! Scenarios that count the descriptors of their process, or have none left for those that a peer sends.

use std::fs::File;
use std::time::Duration;

use ropewalk::{Error, Reactor};

use super::crowds::{FEW, limit_descriptors};
use super::dialogue::say;
use crate::Subject;
use crate::passed::{Labelled, Peer, Taker, label_of};
use crate::script::{Log, Script, reason_name};
use crate::waiting::iterate_until;

fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").expect("every Unix has it").count()
}

/// Opens descriptors until only `left` more can be opened.
fn leave(left: usize) -> Vec<File> {
    limit_descriptors(FEW);
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.truncate(files.len() - left);
    files
}

fn log_of(log: &Log) -> Taker {
    let (got, data) = (log.clone(), log.clone());
    let script = Script::new().on_data(move |_, bytes| data.add(format!("data {}", bytes.escape_ascii())));
    Taker::new(script, move |_, descriptor| got.add(format!("got {}", label_of(descriptor))))
}

/// Takes four of eight descriptors, and then a single one.
pub(super) fn few_free_descriptors(subject: &Subject) {
    let (reactor, log) = (subject.reactor(), Log::new());
    let before = open_descriptors();
    let taker = log_of(&log).noting_losses(&log);
    let (transport, peer) = taker.connected(&reactor);
    let (descriptors, copies) = Labelled::all(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
    peer.pass(b"eight", &descriptors);
    drop((descriptors, copies));
    let files = leave(4);
    iterate_until(&reactor, || log.contains("data eight"));
    drop(files);
    let Labelled { descriptor, closed } = Labelled::new('x');
    peer.pass(b"one", &[descriptor]);
    iterate_until(&reactor, || log.contains("data one"));
    log.entries().iter().for_each(|line| say(line));
    transport.abort_connection();
    drop((peer, closed));
    iterate_until(&reactor, || !transport.is_connected());
    say(&format!("{} more descriptors", open_descriptors() - before));
}

/// Takes no descriptor, because none can be opened.
pub(super) fn no_free_descriptors(subject: &Subject) {
    let (reactor, log) = (subject.reactor(), Log::new());
    let lost = log.clone();
    let script = Script::new().on_lost(move |_, reason: &Error| lost.add(format!("lost {}", reason_name(reason))));
    let (_transport, peer) = Taker::new(script, |_, _| unreachable!("it cannot be opened")).connected(&reactor);
    peer.pass(b"x", &[Labelled::new('a').descriptor]);
    let files = leave(0);
    iterate_until(&reactor, || !log.entries().is_empty());
    drop(files);
    log.entries().iter().for_each(|line| say(line));
}

/// Passes descriptors both ways on connections that end in many ways.
pub(super) fn passed_descriptors(subject: &Subject) {
    let reactor = subject.reactor();
    // Descriptors that the reactor opens for its first connection stay open.
    end_in_each_way(&reactor);
    let before = open_descriptors();
    (0..5).for_each(|_| end_in_each_way(&reactor));
    say(&format!("{} more descriptors", open_descriptors() - before));
}

fn end_in_each_way(reactor: &Reactor) {
    let ends: [fn(&ropewalk::Transport, Peer); 5] = [
        |_, peer| drop(peer),
        |transport, _| transport.abort_connection(),
        |transport, _| transport.lose_connection(),
        |transport, _| transport.end(Error::Closed),
        |transport, peer| {
            transport.pause_producing();
            peer.pass(b"unread", &[Labelled::new('u').descriptor]);
            transport.abort_connection();
        },
    ];
    for end in ends {
        let log = Log::new();
        let (transport, peer) = log_of(&log).connected(reactor);
        peer.pass(b"three", &[(); 3].map(|()| Labelled::new('p').descriptor));
        transport.send_file_descriptor(Labelled::new('s').descriptor).expect("a UNIX connection");
        transport.write(b"sent");
        iterate_until(reactor, || log.contains("data three") && transport.buffered() == 0);
        transport.send_file_descriptor(Labelled::new('q').descriptor).expect("a UNIX connection");
        end(&transport, peer);
        iterate_until(reactor, || !transport.is_connected());
    }
    // A connection that lingers is closed before the descriptors are counted.
    while reactor.lingering_count() > 0 {
        reactor.iterate(Some(Duration::from_millis(10))).expect("a turn");
    }
}
