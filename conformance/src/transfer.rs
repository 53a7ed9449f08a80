//! Transfers over QUIC: clients send bytes, and a server compares each of them and answers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::{Reactor, UdpBinding};
use ropewalk_quic::quinn_proto::{
    Connection, ConnectionStats, Dir, EndpointConfig, Event, IdleTimeout, ReadError, StreamEvent, StreamId,
    TransportConfig,
};
use ropewalk_quic::{Application, Quic, Service, identity};

use crate::script::stop;

/// The answer to bytes that have all arrived, each the right one.
const ANSWER: &[u8] = b"whole";

/// The length of the content after which it repeats, a prime number.
const PERIOD: usize = 65_521;

/// The time after which a connection is lost whose peer is silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The size of the system's buffers.
const SOCKET_BUFFER: usize = 4 << 20;

/// The bytes that a client sends.
#[derive(Clone)]
struct Content(Rc<[u8]>);

impl Content {
    fn new() -> Content {
        let mut state = 1_u32;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        Content(random.take(PERIOD).collect())
    }

    /// Returns at most `most` bytes behind the first `position` ones.
    fn at(&self, position: usize, most: usize) -> &[u8] {
        let rest = &self.0[position % PERIOD..];
        &rest[..rest.len().min(most)]
    }
}

/// The outcome of a transfer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all bytes have arrived, each the right one. Otherwise the connection was lost.
    pub is_whole: bool,
    /// The numbers of the client's connection.
    pub client: ConnectionStats,
}

/// A server, a client, and the transfers between them.
pub struct Transfers {
    reactor: Reactor,
    server: Quic,
    client: Quic,
    progress: Rc<Progress>,
}

#[derive(Default)]
struct Progress {
    under_way: Cell<usize>,
    outcomes: RefCell<Vec<Outcome>>,
    servers: RefCell<Vec<ConnectionStats>>,
}

impl Transfers {
    /// Opens the ports of a server and of a client. `seed` decides every choice of the two except the keys.
    pub fn open(reactor: &Reactor, server: &str, client: &str, seed: u64) -> Transfers {
        let (progress, content) = (Rc::new(Progress::default()), Content::new());
        let noting = progress.clone();
        let mut config = identity::server();
        config.transport_config(transport());
        let service = Service::new(config, move || Comparing {
            content: content.clone(),
            received: BTreeMap::new(),
            progress: noting.clone(),
        });
        let open = |address, side: u8, service| {
            let binding = UdpBinding::try_from(address).expect("an address");
            let binding = binding.receive_buffer(SOCKET_BUFFER).send_buffer(SOCKET_BUFFER);
            let mut choices = [side; 32];
            choices[..8].copy_from_slice(&seed.to_le_bytes());
            let mut config = EndpointConfig::default();
            config.rng_seed(Some(choices));
            Quic::open(reactor, binding, config, service).expect("a port")
        };
        let (server, client) = (open(server, 1, Some(service)), open(client, 2, None));
        Transfers { reactor: reactor.clone(), server, client, progress }
    }

    /// Begins to send `bytes` bytes to the server at `address`. The run stops when all transfers have an outcome.
    pub fn begin(&self, address: SocketAddr, bytes: usize) {
        let mut config = identity::client();
        config.transport_config(transport());
        let sending = Sending {
            reactor: self.reactor.clone(),
            content: Content::new(),
            stream: None,
            sent: 0,
            bytes,
            answer: Vec::new(),
            progress: Some(self.progress.clone()),
        };
        self.progress.under_way.set(self.progress.under_way.get() + 1);
        self.client.connect(config, address, identity::NAME, sending).expect("a connection");
    }

    /// Returns the outcomes so far.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.progress.outcomes.borrow().clone()
    }

    /// Returns the numbers of the server's connections, each noted at its answer.
    pub fn servers(&self) -> Vec<ConnectionStats> {
        self.progress.servers.borrow().clone()
    }

    /// Returns the server and the client.
    pub fn ports(&self) -> [&Quic; 2] {
        [&self.server, &self.client]
    }

    /// Returns the address that the server is bound to.
    pub fn server_address(&self) -> SocketAddr {
        self.server.port().host().inet().expect("a UDP port")
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("a time that fits")));
    Arc::new(transport)
}

/// The client of a transfer.
struct Sending {
    reactor: Reactor,
    content: Content,
    stream: Option<StreamId>,
    sent: usize,
    bytes: usize,
    answer: Vec<u8>,
    /// `None` after the outcome.
    progress: Option<Rc<Progress>>,
}

impl Sending {
    fn send(&mut self, connection: &mut Connection) {
        let Some(id) = self.stream else { return };
        let mut stream = connection.send_stream(id);
        while self.sent < self.bytes {
            // The only error is that the stream takes no more now: `Writable` follows.
            let Ok(count) = stream.write(self.content.at(self.sent, self.bytes - self.sent)) else { return };
            self.sent += count;
            if self.sent == self.bytes {
                stream.finish().expect("the stream is open");
            }
        }
    }

    fn receive(&mut self, connection: &mut Connection, now: Instant, id: StreamId) {
        let answer = &mut self.answer;
        if read(connection, id, |bytes| answer.extend_from_slice(bytes)) {
            self.end(connection);
            connection.close(now, 0_u32.into(), "done".into());
        }
    }

    fn end(&mut self, connection: &Connection) {
        let Some(progress) = self.progress.take() else { return };
        let is_whole = self.answer == ANSWER;
        progress.outcomes.borrow_mut().push(Outcome { is_whole, client: connection.stats() });
        progress.under_way.set(progress.under_way.get() - 1);
        if progress.under_way.get() == 0 {
            stop(&self.reactor);
        }
    }
}

impl Application for Sending {
    fn event(&mut self, connection: &mut Connection, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.stream = connection.streams().open(Dir::Bi);
                self.send(connection);
            }
            Event::Stream(StreamEvent::Writable { .. }) => self.send(connection),
            Event::Stream(StreamEvent::Readable { id }) => self.receive(connection, now, id),
            Event::ConnectionLost { .. } => self.end(connection),
            _ => {}
        }
    }
}

/// The server's end of a transfer.
struct Comparing {
    content: Content,
    /// The number of bytes of each stream that have arrived.
    received: BTreeMap<StreamId, usize>,
    progress: Rc<Progress>,
}

impl Comparing {
    fn receive(&mut self, connection: &mut Connection, id: StreamId) {
        let (content, position) = (&self.content, self.received.entry(id).or_default());
        let compare = |bytes: &[u8]| {
            let mut rest = bytes;
            while !rest.is_empty() {
                let expected = content.at(*position, rest.len());
                assert!(rest.starts_with(expected), "a wrong byte behind the first {position} ones");
                (*position, rest) = (*position + expected.len(), &rest[expected.len()..]);
            }
        };
        if read(connection, id, compare) {
            let mut stream = connection.send_stream(id);
            assert_eq!(stream.write(ANSWER), Ok(ANSWER.len()));
            stream.finish().expect("the stream is open");
            self.progress.servers.borrow_mut().push(connection.stats());
        }
    }
}

impl Application for Comparing {
    fn event(&mut self, connection: &mut Connection, _now: Instant, event: Event) {
        match event {
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                while let Some(id) = connection.streams().accept(Dir::Bi) {
                    self.receive(connection, id);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.receive(connection, id),
            _ => {}
        }
    }
}

/// Reads everything that has arrived. Returns whether the stream has ended.
fn read(connection: &mut Connection, id: StreamId, mut take: impl FnMut(&[u8])) -> bool {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return false };
    let is_over = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => take(&chunk.bytes),
            Ok(None) => break true,
            Err(ReadError::Blocked) => break false,
            Err(error) => panic!("a stream broke off: {error}"),
        }
    };
    // The driver sends updates of the window in any case.
    let _ = chunks.finalize();
    is_over
}
