//! An echo server on a reactor and its clients in one thread, so that no round depends on the machine's speed.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use ropewalk::{Protocol, Reactor, Transport};

/// The length of a message.
const MESSAGE_BYTES: usize = 64;

/// Rounds of messages: a message is sent on each connection, then all messages are answered.
pub struct LockStep {
    reactor: Reactor,
    clients: Vec<TcpStream>,
    answered: Rc<Cell<usize>>,
}

/// Sends all data back, and counts the messages.
struct Echo(Rc<Cell<usize>>);

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
        self.0.set(self.0.get() + 1);
    }
}

impl LockStep {
    /// Turns the loop until all clients are connected.
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

    /// Sends a message from each client, turns the loop until all are answered, and reads the answers. The clients make
    /// two system calls for each message.
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
