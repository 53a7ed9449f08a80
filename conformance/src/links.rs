//! Connections whose two ends are on one reactor, over the subject's kind of socket: TCP or UNIX.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Port, Reactor, Transport};

use crate::script::{Script, stop};
use crate::waiting::{after_some_turns, when};
use crate::{Subject, run};

/// The most bytes that one call of `data_received` delivers.
pub const MOST_DELIVERED: usize = 128 * 1024;

impl Subject {
    /// Listens on an unused address.
    pub fn listen(&self, reactor: &Reactor, factory: impl Factory + 'static) -> Port {
        let port = match self.over_unix {
            true => reactor.listen_unix(self.unix_path(), factory),
            false => reactor.listen_tcp("127.0.0.1:0", factory),
        };
        port.expect("the address is free")
    }

    /// Listens on `host`.
    ///
    /// # Errors
    /// The errors of `listen_tcp` and `listen_unix`.
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

    /// Connects to an address that no port listens on.
    pub fn connect_to_nowhere(&self, reactor: &Reactor, factory: impl ClientFactory + 'static) -> Connector {
        let connector = match self.over_unix {
            true => reactor.connect_unix(self.unix_path(), factory),
            false => reactor.connect_tcp(NOWHERE, factory),
        };
        connector.expect("this provider offers the interface")
    }

    /// Connects a client to a server.
    pub fn join(&self, reactor: &Reactor, server: &Script, client: &Script) -> Port {
        let port = self.listen(reactor, server.factory());
        self.connect(reactor, &port, client.factory());
        port
    }

    /// Connects a client to a server. Passes both ends to `then` when both have been made: the server's, then the
    /// client's.
    pub fn join_and(
        &self,
        reactor: &Reactor,
        server: &Script,
        client: &Script,
        then: impl FnOnce(Transport, Transport) + 'static,
    ) {
        let (servers, clients) = (Transports::new(), Transports::new());
        self.join(reactor, &server.clone().listed_in(&servers), &client.clone().listed_in(&clients));
        let (made, others) = (servers.clone(), clients.clone());
        let are_made = move || made.all().len() + others.all().len() == 2;
        when(reactor, are_made, move |_| then(servers.first(), clients.first()));
    }

    /// Connects a client to a server, and runs until both connections are lost.
    pub fn converse(&self, server: &Script, client: &Script) {
        self.converse_on(&self.reactor(), server, client);
    }

    /// Like [`converse`](Subject::converse), but on `reactor`.
    pub fn converse_on(&self, reactor: &Reactor, server: &Script, client: &Script) {
        let both = Countdown::new(2);
        self.join(reactor, &server.clone().counted_by(&both), &client.clone().counted_by(&both));
        run(reactor);
    }

    /// Runs `server` with a client that sends `sent` and resets the connection. Pauses the server's end, and passes it
    /// to `then` when the reset has arrived.
    pub fn after_a_reset(
        &self,
        reactor: &Reactor,
        server: &Script,
        sent: &[u8],
        then: impl FnOnce(Transport) + 'static,
    ) {
        let (servers, clients) = (Transports::new(), Transports::new());
        let server = server.clone().on_made(Transport::pause_producing).listed_in(&servers);
        let bytes = sent.to_vec();
        let client = Script::new().on_made(move |transport| transport.write(&bytes)).listed_in(&clients);
        self.join(reactor, &server, &client);
        let (made, sender) = (servers.clone(), clients.clone());
        let has_sent = move || !made.all().is_empty() && sender.all().iter().all(|client| client.buffered() == 0);
        when(reactor, has_sent, move |reactor| {
            clients.first().abort_connection();
            after_some_turns(reactor, move |_| then(servers.first()));
        });
        run(reactor);
    }

    /// Connects `count` clients that send `x`. One wait reports the bytes of all of them, because the servers start to
    /// read only when all are connected.
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

/// An address that no port listens on. The port's number is so low that no system chooses it for port 0: RFC 6335,
/// section 6. A free port that a test found and released could be taken by another test.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A list of connections.
#[derive(Clone, Default)]
pub struct Transports(Rc<RefCell<Vec<Transport>>>);

impl Transports {
    /// Creates an empty list.
    pub fn new() -> Transports {
        Transports::default()
    }

    /// Adds a connection.
    pub fn add(&self, transport: &Transport) {
        self.0.borrow_mut().push(transport.clone());
    }

    /// Returns all connections, in the order in which they were added.
    pub fn all(&self) -> Vec<Transport> {
        self.0.borrow().clone()
    }

    /// Returns all connections except `than`.
    pub fn others(&self, than: &Transport) -> Vec<Transport> {
        self.all().into_iter().filter(|transport| transport != than).collect()
    }

    /// Returns the first connection.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn first(&self) -> Transport {
        self.0.borrow()[0].clone()
    }
}

/// Stops the reactor at the last of a number of events.
#[derive(Clone)]
pub struct Countdown(Rc<Cell<usize>>);

impl Countdown {
    /// Counts down from `times`.
    pub fn new(times: usize) -> Countdown {
        Countdown(Rc::new(Cell::new(times)))
    }

    /// Returns the number of events still to come.
    pub fn left(&self) -> usize {
        self.0.get()
    }

    /// Counts one event.
    pub fn count(&self, reactor: &Reactor) {
        let left = self.0.get().saturating_sub(1);
        self.0.set(left);
        if left == 0 {
            stop(reactor);
        }
    }
}

impl Script {
    /// Counts the lost connections of this script on `countdown`.
    #[must_use]
    pub fn counted_by(self, countdown: &Countdown) -> Script {
        let countdown = countdown.clone();
        self.on_lost(move |transport, _| countdown.count(&transport.reactor()))
    }

    /// Adds the connections of this script to `transports`.
    #[must_use]
    pub fn listed_in(self, transports: &Transports) -> Script {
        let transports = transports.clone();
        self.on_made(move |transport| transports.add(transport))
    }

    /// Reads only in every second turn.
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

/// Returns bytes with a long period, so that a lost, doubled or misplaced piece shows.
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

/// Cuts `bytes` into pieces of 1 to `longest` bytes.
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
