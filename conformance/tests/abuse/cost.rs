//! A server or a client under attack, and what the attack has cost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use ropewalk::protocols::paced;
use ropewalk::tls::{ClientOptions, ServerOptions, TlsClient, TlsServer};
use ropewalk::{Error, Protocol, Reactor, Transport};
use ropewalk_conformance::Subject;
use ropewalk_conformance::certificates::Authority;
use ropewalk_conformance::logged::logged;
use ropewalk_conformance::tls_ends::{NAME, end_in_words};

use crate::attacks::Target;

/// The time of a turn in which nothing happens.
const TURN: Duration = Duration::from_millis(5);

/// The costs of an attack.
#[derive(Debug)]
pub(crate) struct Cost {
    /// The most bytes that were allocated at the same time.
    pub(crate) bytes_most: u64,
    /// The bytes that were still allocated in the end.
    pub(crate) bytes_left: i64,
    /// The most connections that existed at the same time.
    living_most: usize,
    processor: Duration,
    pub(crate) lines: Vec<String>,
    ends: BTreeMap<String, usize>,
}

impl Cost {
    /// Returns the most bytes that were allocated, divided by the number of connections that existed at the same time.
    pub(crate) fn bytes_each(&self) -> u64 {
        self.bytes_most / self.living_most.max(1) as u64
    }

    /// Returns the number of connections that have ended in this way.
    pub(crate) fn ends_as(&self, end: &str) -> usize {
        self.ends.get(end).copied().unwrap_or(0)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends: usize = self.ends.values().sum();
        let kib = self.bytes_each() as f64 / 1024.0;
        let time = self.processor.as_secs_f64() * 1000.0 / ends.max(1) as f64;
        write!(f, "{} | {kib:.1} KiB | {time:.2} ms | {} | {:?}", self.living_most, self.lines.len(), self.ends)
    }
}

/// The connections of a reactor.
#[derive(Default)]
struct Connections {
    living: usize,
    living_most: usize,
    ends: BTreeMap<String, usize>,
}

/// Sends back what it gets.
struct Echo(Rc<RefCell<Connections>>);

impl Protocol for Echo {
    fn connection_made(&mut self, _transport: &Transport) {
        let mut connections = self.0.borrow_mut();
        connections.living += 1;
        connections.living_most = connections.living_most.max(connections.living);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        let mut connections = self.0.borrow_mut();
        connections.living -= 1;
        *connections.ends.entry(end_in_words(reason)).or_default() += 1;
    }
}

/// Runs a server with `options` while `attack` runs in another thread.
pub(crate) fn suffer(options: ServerOptions, attack: impl FnOnce(Target) + Send + 'static) -> Cost {
    let (_, issued) = Authority::replayed(&[NAME]);
    let tls = TlsServer::new(options.identity(issued.identity())).unwrap();
    let (reactor, connections) = (Subject::named("epoll").reactor(), Rc::new(RefCell::new(Connections::default())));
    let served = connections.clone();
    let port = reactor.listen_tls("127.0.0.1:0", paced(move || Echo(served.clone())), &tls).unwrap();
    let target = Target::new(port.host().unwrap().inet().unwrap());
    let cost = endure(&reactor, &connections, move || attack(target), |_| {});
    assert_eq!(tls.handshakes(), 0);
    cost
}

/// Connects `count` clients to a server that `attack` runs in another thread.
pub(crate) fn visit(count: usize, attack: fn(&TcpListener, usize)) -> Cost {
    let (authority, _) = Authority::replayed(&[NAME]);
    let tls = TlsClient::new(ClientOptions::new().authorities(authority.trusted()).server_name(NAME)).unwrap();
    let (reactor, connections) = (Subject::named("epoll").reactor(), Rc::new(RefCell::new(Connections::default())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, visiting): (SocketAddr, _) = (listener.local_addr().unwrap(), connections.clone());
    endure(
        &reactor,
        &connections,
        move || attack(&listener, count),
        move |reactor| {
            for _ in 0..count {
                let visiting = visiting.clone();
                reactor.connect_tls(host, move || Echo(visiting.clone()), &tls).unwrap();
            }
        },
    )
}

/// Turns the loop until the attack is over and all connections have ended.
fn endure(
    reactor: &Reactor,
    connections: &RefCell<Connections>,
    attack: impl FnOnce() + Send + 'static,
    begin: impl FnOnce(&Reactor),
) -> Cost {
    let attacking = thread::spawn(attack);
    let (before, mut lines) = (processor_time(), Vec::new());
    let memory = measure(|| {
        lines = logged(|| {
            begin(reactor);
            while !attacking.is_finished() || connections.borrow().living > 0 || reactor.lingering_count() > 0 {
                reactor.iterate(Some(TURN)).unwrap();
            }
        });
    });
    let processor = processor_time() - before;
    attacking.join().unwrap();
    let Connections { living_most, ends, .. } = connections.take();
    Cost { bytes_most: memory.bytes_max, bytes_left: memory.bytes_current, living_most, processor, lines, ends }
}

/// Returns the time for which this thread has run.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
