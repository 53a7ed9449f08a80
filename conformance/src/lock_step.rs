//! An echo server on a reactor and its clients, in one thread: what happens in a round depends on nobody's speed.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use ropewalk::{Protocol, Reactor, Transport};

/// How long a message is.
const MESSAGE_BYTES: usize = 64;

/// Rounds of messages, one on each connection, sent and answered by turns.
pub struct LockStep {
    reactor: Reactor,
    clients: Vec<TcpStream>,
    answered: Rc<Cell<usize>>,
}

/// Sends everything back, and counts.
struct Echo(Rc<Cell<usize>>);

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
        self.0.set(self.0.get() + 1);
    }
}

impl LockStep {
    /// Makes turns until all clients are connected.
    pub fn new(reactor: &Reactor, connections: usize) -> LockStep {
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let port = reactor.listen_tcp("127.0.0.1:0", move || Echo(count.clone())).expect("a port");
        let address = port.host().ok().and_then(|host| host.inet()).expect("an address");
        let before = reactor.source_count();
        let clients = Vec::from_iter((1..=connections).map(|count| {
            let client = TcpStream::connect(address).expect("the port listens");
            while reactor.source_count() < before + count {
                reactor.iterate(None).expect("a turn");
            }
            client
        }));
        LockStep { reactor: reactor.clone(), clients, answered }
    }

    /// Each client sends a message, the reactor makes turns until all are answered, and each client reads its answer:
    /// two system calls a message on the clients' side.
    pub fn round(&mut self) {
        let mut message = [b'x'; MESSAGE_BYTES];
        for client in &mut self.clients {
            client.write_all(&message).expect("room for a message");
        }
        self.answered.set(0);
        while self.answered.get() < self.clients.len() {
            self.reactor.iterate(None).expect("a turn");
        }
        for client in &mut self.clients {
            client.read_exact(&mut message).expect("an answer");
        }
    }
}
