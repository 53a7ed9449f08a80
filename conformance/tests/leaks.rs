//! Handshakes of TLS leave no memory and no descriptor behind.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "the figures of a run, for the book")]

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use allocation_counter::measure;
use ropewalk::protocols::{TlsClientFactory, TlsServerFactory};
use ropewalk::tls::{ClientOptions, ServerOptions};
use ropewalk::{Error, Port, Protocol, Reactor, Transport};
use ropewalk_conformance::Subject;
use ropewalk_conformance::certificates::Pair;
use ropewalk_conformance::tls_ends::NAME;

/// The number of connections that exist at the same time. A client keeps eight tickets of a server, so more connections
/// would not all be resumed.
const TOGETHER: usize = 4;

/// Sends back what it gets.
struct Echo(Rc<Cell<usize>>);

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        assert!(reason.is_done(), "{reason}");
        self.0.set(self.0.get() + 1);
    }
}

/// Sends a byte, and closes when it is back.
struct Visitor {
    ended: Rc<Cell<usize>>,
    resumed: Rc<Cell<usize>>,
}

impl Protocol for Visitor {
    fn layer_opened(&mut self, transport: &Transport) {
        let is_resumed = transport.with_tls(ropewalk::tls::TlsLayer::is_resumed) == Some(true);
        self.resumed.set(self.resumed.get() + usize::from(is_resumed));
        transport.write(b"x");
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.lose_connection();
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        assert!(reason.is_done(), "{reason}");
        self.ended.set(self.ended.get() + 1);
    }
}

/// A server and its clients on one reactor, over UNIX sockets, which use up no ports.
struct Place {
    reactor: Reactor,
    port: Port,
    pair: Pair,
    ended: Rc<Cell<usize>>,
    resumed: Rc<Cell<usize>>,
}

impl Place {
    fn new(sessions: usize) -> Place {
        let subject = Subject::named("epoll").over_unix();
        let (reactor, ended) = (subject.reactor(), Rc::new(Cell::new(0)));
        let (server, client) = (ServerOptions::new(), ClientOptions::new());
        let pair = Pair::of(server.sessions_max(sessions), client.sessions_max(sessions.min(256)));
        let counted = ended.clone();
        let port = subject.listen(&reactor, TlsServerFactory::new(move || Echo(counted.clone()), &pair.server));
        Place { reactor, port, pair, ended, resumed: Rc::default() }
    }

    /// Makes `count` handshakes. Returns when both ends of each connection have ended.
    fn shake_hands(&self, count: usize) {
        let subject = Subject::named("epoll").over_unix();
        let (first, mut begun) = (self.ended.get(), 0);
        while self.ended.get() < first + 2 * count || self.reactor.lingering_count() > 0 {
            // Each connection has two ends.
            while begun < count && 2 * begun < self.ended.get() - first + 2 * TOGETHER {
                let (ended, resumed) = (self.ended.clone(), self.resumed.clone());
                let factory = move || Visitor { ended: ended.clone(), resumed: resumed.clone() };
                subject.connect(&self.reactor, &self.port, TlsClientFactory::new(factory, &self.pair.client, NAME));
                begun += 1;
            }
            self.reactor.iterate(Some(Duration::from_millis(5))).unwrap();
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The resident memory, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Makes `count` handshakes after some that fill all caches. Asserts that nothing is left of them.
fn assert_nothing_is_left(what: &str, sessions: usize, warm_up: usize, count: usize) {
    let place = Place::new(sessions);
    place.shake_hands(warm_up);
    let resumed = place.resumed.take();
    let (before, memory) = (descriptors(), resident());
    let cost = measure(|| place.shake_hands(count));
    let is_all_resumed = place.resumed.get() == count;
    println!(
        "{count} {what} handshakes: {} bytes in {} allocations more, at most {} bytes, {} to {} KiB resident, {} to {} descriptors",
        cost.bytes_current,
        cost.count_current,
        cost.bytes_max,
        memory,
        resident(),
        before,
        descriptors()
    );
    assert!(is_all_resumed == (sessions > 0), "{} resumed, {resumed} of the first", place.resumed.get());
    assert_eq!(descriptors(), before);
    assert!(cost.bytes_current.abs() < 64 * 1024, "{cost:?}");
    assert_eq!(place.pair.server.handshakes(), 0);
}

#[test]
fn handshakes_leave_nothing() {
    // One test, because descriptors are counted for the whole process.
    assert_nothing_is_left("full", 0, 200, 400);
    assert_nothing_is_left("resumed", 64, 200, 400);
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_thousand_handshakes_leave_nothing() {
    assert_nothing_is_left("full", 0, 1000, 100_000);
    // The cache of the server is full after the first handshakes. Its hash table doubles once more, when the places of
    // removed sessions have filled it.
    assert_nothing_is_left("resumed", 4096, 30_000, 100_000);
}
