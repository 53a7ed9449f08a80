//! Connections whose two ends are on one reactor, over TCP or UNIX sockets as the subject says.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Port, Reactor, Transport};

use crate::script::{Script, stop};
use crate::{Subject, run};

/// The most that one call of `data_received` brings.
pub const MOST_DELIVERED: usize = 128 * 1024;

impl Subject {
    /// Listens where nobody else does.
    pub fn listen(&self, reactor: &Reactor, factory: impl Factory + 'static) -> Port {
        let port = match self.over_unix {
            true => reactor.listen_unix(self.unix_path(), factory),
            false => reactor.listen_tcp("127.0.0.1:0", factory),
        };
        port.expect("it can listen where nobody does")
    }

    /// Listens at this address.
    ///
    /// # Errors
    /// What listening answers.
    pub fn listen_at(&self, reactor: &Reactor, host: &Address, factory: impl Factory + 'static) -> Result<Port, Error> {
        match host {
            Address::Unix(path) => reactor.listen_unix(&**path, factory),
            address => reactor.listen_tcp(address.inet().expect("a TCP address"), factory),
        }
    }

    /// Connects to `port`.
    pub fn connect(&self, reactor: &Reactor, port: &Port, factory: impl ClientFactory + 'static) -> Connector {
        let connector = match port.host().expect("a port that listens has an address") {
            Address::Unix(path) => reactor.connect_unix(&*path, factory),
            address => reactor.connect_tcp(address.inet().expect("a TCP port"), factory),
        };
        connector.expect("this provider offers the interface")
    }

    /// Connects to where nobody listens.
    pub fn connect_to_nobody(&self, reactor: &Reactor, factory: impl ClientFactory + 'static) -> Connector {
        let connector = match self.over_unix {
            true => reactor.connect_unix(self.unix_path(), factory),
            false => reactor.connect_tcp(NOWHERE, factory),
        };
        connector.expect("this provider offers the interface")
    }

    /// Connects a client with a server.
    pub fn join(&self, reactor: &Reactor, server: &Script, client: &Script) -> Port {
        let port = self.listen(reactor, server.factory());
        self.connect(reactor, &port, client.factory());
        port
    }

    /// Connects a client with a server, and runs until both connections are lost.
    pub fn converse(&self, server: &Script, client: &Script) {
        self.converse_on(&self.reactor(), server, client);
    }

    /// As [`converse`](Subject::converse), on this reactor.
    pub fn converse_on(&self, reactor: &Reactor, server: &Script, client: &Script) {
        let both = Countdown::new(2);
        self.join(reactor, &server.clone().counted_by(&both), &client.clone().counted_by(&both));
        run(reactor);
    }

    /// Connects `count` clients that send `x` with servers, whose bytes are then reported by one and the same wait: the
    /// servers read when all are there.
    pub fn ready_together(&self, reactor: &Reactor, count: usize, server: &Script) -> Transports {
        let (servers, both) = (Transports::default(), Rc::new(Cell::new(2 * count)));
        let (resumed, left) = (servers.clone(), both.clone());
        let one_less = move |transport: &Transport| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                let resumed = resumed.clone();
                transport.reactor().call_later(Duration::ZERO, move |_| {
                    resumed.all().iter().for_each(Transport::resume_producing);
                });
            }
        };
        let (listed, arrived) = (servers.clone(), one_less.clone());
        let server = server.clone().on_made(move |transport| {
            transport.pause_producing();
            listed.add(transport);
            arrived(transport);
        });
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_made(one_less);
        let port = self.listen(reactor, server.factory());
        for _ in 0..count {
            self.connect(reactor, &port, client.factory());
        }
        servers
    }
}

/// Where nobody listens. A port that was found free and let go may be the next test's; no system gives one so low to who asks
/// for any: RFC 6335, section 6.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Connections that a test collects.
#[derive(Clone, Default)]
pub struct Transports(Rc<RefCell<Vec<Transport>>>);

impl Transports {
    /// None yet.
    pub fn new() -> Transports {
        Transports::default()
    }

    /// One more.
    pub fn add(&self, transport: &Transport) {
        self.0.borrow_mut().push(transport.clone());
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> Vec<Transport> {
        self.0.borrow().clone()
    }

    /// All but one.
    pub fn others(&self, than: &Transport) -> Vec<Transport> {
        self.all().into_iter().filter(|transport| transport != than).collect()
    }

    /// The first one.
    ///
    /// # Panics
    /// When there is none.
    pub fn first(&self) -> Transport {
        self.0.borrow()[0].clone()
    }
}

/// Stops the reactor when something has happened so often.
#[derive(Clone)]
pub struct Countdown(Rc<Cell<usize>>);

impl Countdown {
    /// Until `times` have been counted.
    pub fn new(times: usize) -> Countdown {
        Countdown(Rc::new(Cell::new(times)))
    }

    /// How often it has still to happen.
    pub fn left(&self) -> usize {
        self.0.get()
    }

    /// It happened once.
    pub fn count(&self, reactor: &Reactor) {
        let left = self.0.get().saturating_sub(1);
        self.0.set(left);
        if left == 0 {
            stop(reactor);
        }
    }
}

impl Script {
    /// Counts its lost connections.
    #[must_use]
    pub fn counted_by(self, countdown: &Countdown) -> Script {
        let countdown = countdown.clone();
        self.on_lost(move |transport, _| countdown.count(&transport.reactor()))
    }

    /// Adds its connections to `transports`.
    #[must_use]
    pub fn listed_in(self, transports: &Transports) -> Script {
        let transports = transports.clone();
        self.on_made(move |transport| transports.add(transport))
    }

    /// Reads once in every second turn.
    pub fn slow_reader() -> Script {
        Script::new().on_data(|transport, _| {
            transport.pause_producing();
            let later = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| later.resume_producing());
        })
    }

    /// Writes `bytes`, then loses the connection.
    pub fn sends(bytes: Vec<u8>) -> Script {
        Script::new().on_made(move |transport| {
            transport.write(&bytes);
            transport.lose_connection();
        })
    }
}

/// Bytes that do not repeat soon, so that a piece that is lost, doubled or out of its place shows.
pub fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = Vec::with_capacity(length + 4);
    while noise.len() < length {
        // Marsaglia, "Xorshift RNGs", section 4.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(length);
    noise
}

/// `bytes` in pieces of 1 to `longest` bytes.
pub fn pieces(bytes: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let lengths = noise(2 * bytes.len() / longest.max(1) * 4 + 64, longest as u32);
    let mut lengths = lengths.chunks(2).map(|pair| 1 + usize::from(u16::from_le_bytes([pair[0], pair[1]])) % longest);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(lengths.next().unwrap_or(longest).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}

/// Fails unless both are the same, without printing megabytes.
#[track_caller]
pub fn assert_same_bytes(received: &[u8], sent: &[u8]) {
    if received != sent {
        let agree = received.iter().zip(sent).take_while(|(left, right)| left == right).count();
        panic!("received {} bytes of {}, the same up to byte {agree}", received.len(), sent.len());
    }
}
