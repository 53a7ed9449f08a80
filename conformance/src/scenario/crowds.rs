//! Scenarios with few descriptors or very many, whose limits belong to a whole process.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Protocol, Reactor, RunOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::dialogue::{hear, say};
use crate::links::{Countdown, NOWHERE, Transports};
use crate::script::{Script, stop};
use crate::{Subject, quiet};

/// The descriptor limit of a scenario with few descriptors.
pub(super) const FEW: u64 = 64;

/// FD_SETSIZE of all systems on which the scenarios run: select(2) cannot watch a descriptor with this number.
const BEYOND_SELECT: usize = 1024;

pub(super) fn limit_descriptors(most: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).expect("it is at most the hard limit");
}

fn listens_on(reactor: &Reactor, factory: impl Factory + 'static) {
    let port = reactor.listen_tcp("127.0.0.1:0", factory).expect("the first descriptors are there");
    say(&port.host().expect("it listens").to_string());
}

/// Builds echoes, and reports the first failure to accept.
struct Crowd {
    accepted: Cell<usize>,
    failures: Cell<usize>,
    on_failure: Box<dyn Fn(&Error)>,
}

impl Factory for Crowd {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.accepted.set(self.accepted.get() + 1);
        Some(Box::new(Script::echo()))
    }

    fn accept_failed(&self, reason: &Error) {
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() == 1 {
            say(&format!("{} accepted", self.accepted.get()));
            (self.on_failure)(reason);
        }
    }
}

/// Serves as many connections as possible until its input ends.
pub(super) fn crowded(subject: &Subject) {
    limit_descriptors(FEW);
    let reactor = subject.reactor();
    let turns = Rc::new(Cell::new(0));
    let (counted, looks_at) = (turns.clone(), reactor.clone());
    let on_failure = move |_: &Error| {
        let begin = counted.get();
        let counted = counted.clone();
        looks_at.call_later(Duration::from_millis(200), move |_| match counted.get() - begin {
            // Fewer than 150 turns count as an idle loop, because the echoes that the specification requests meanwhile
            // also take turns.
            0..150 => say("rests"),
            turns => say(&format!("made {turns} turns")),
        });
    };
    let crowd = Crowd { accepted: Cell::new(0), failures: Cell::new(0), on_failure: Box::new(on_failure) };
    listens_on(&reactor, crowd);
    stops_at_end_of_input(&reactor);
    reactor.start_running(quiet()).expect("it does not run");
    while reactor.is_started() {
        let limit = reactor.prepare().expect("the loop turns");
        if reactor.is_started() {
            reactor.wait(limit).expect("the loop turns");
            reactor.dispatch();
        }
        turns.set(turns.get() + 1);
    }
}

fn stops_at_end_of_input(reactor: &Reactor) {
    let handle = reactor.thread_handle();
    std::thread::spawn(move || {
        hear();
        handle.call_from_thread(stop);
    });
}

/// Reports the reason of each failed attempt.
struct Attempts(Countdown);

impl Factory for Attempts {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        None
    }
}

impl ClientFactory for Attempts {
    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        say(&format!("failed: {reason}"));
        self.0.count(&connector.try_reactor().expect("it is called by its reactor"));
    }
}

/// Listens and connects without a free descriptor.
pub(super) fn exhausted(subject: &Subject) {
    limit_descriptors(FEW);
    let reactor = subject.reactor();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let error = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).expect_err("no descriptor is left");
    say(&format!("{error}"));
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    reactor.connect_tcp(nowhere, Attempts(Countdown::new(1))).expect("it offers TCP");
    run(&reactor);
}

/// Opens more descriptors than select(2) can watch.
pub(super) fn beyond_select(subject: &Subject) {
    limit_descriptors(4 * BEYOND_SELECT as u64);
    let reactor = subject.reactor();
    let stops = reactor.clone();
    let on_failure = move |reason: &Error| {
        say(&format!("accept failed: {reason}"));
        stop(&stops);
    };
    let crowd = Crowd { accepted: Cell::new(0), failures: Cell::new(0), on_failure: Box::new(on_failure) };
    listens_on(&reactor, crowd);
    let files: Vec<_> = (0..BEYOND_SELECT).map(|_| File::open("/dev/null").expect("below the limit")).collect();
    let error = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).expect_err("beyond FD_SETSIZE");
    say(&format!("{error}"));
    let (client, _server) = std::os::unix::net::UnixStream::pair().expect("below the limit");
    let factory = Script::new().factory();
    let error = reactor.adopt_stream_connection(client, &factory).expect_err("beyond FD_SETSIZE");
    say(&format!("{error}"));
    reactor.connect_tcp(NOWHERE, Attempts(Countdown::new(2))).expect("it offers TCP");
    // The port from the beginning still works, but each connection that it accepts has a number above the limit.
    run(&reactor);
    drop(files);
}

/// Keeps a thousand connections open at once, both ends of each.
pub(super) fn thousand(subject: &Subject) {
    const MANY: usize = 1000;
    limit_descriptors(8192);
    let (reactor, answered, all) = (subject.reactor(), Countdown::new(MANY), Transports::new());
    let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).expect("a free port");
    let (everybody, left) = (all.clone(), Cell::new(MANY));
    let client = Script::new()
        .listed_in(&all)
        .on_made(move |_| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                say("all are there");
                everybody.all().iter().for_each(|transport| transport.write(b"x"));
            }
        })
        .on_data(move |transport, _| answered.count(&transport.reactor()));
    for _ in 0..MANY {
        subject.connect(&reactor, &port, client.factory());
    }
    run(&reactor);
    say(&format!("{} answers", client.received().len()));
}

fn run(reactor: &Reactor) {
    let options: RunOptions = quiet();
    reactor.run_with(options).expect("the loop ends in order");
}
