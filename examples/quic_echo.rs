//! An echo server and its client over QUIC.
//!
//! Run `cargo run -p ropewalk-examples --bin quic_echo -- server`, and in another terminal
//! `cargo run -p ropewalk-examples --bin quic_echo -- client 127.0.0.1:4433 "good morning"`.
//!
//! quinn-proto implements QUIC without I/O, and the crate in `examples/quic` drives it with a datagram port of the
//! reactor. This file uses the connections: the server echoes each stream, and the client opens a stream for each text.
//!
//! The certificate is in `examples/quic/identity`, together with its private key. A real server has its own.

#[cfg(target_os = "linux")]
mod quic {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::process::ExitCode;
    use std::rc::Rc;
    use std::time::Instant;

    use clap::Parser;
    use ropewalk::{Phase, Reactor, UdpBinding};
    use ropewalk_quic::quinn_proto::{Chunk, Connection, Dir, EndpointConfig, Event, ReadError, StreamEvent, StreamId};
    use ropewalk_quic::{Application, Quic, Service, identity};

    /// The bytes that the system keeps for a port: enough for a round trip at a high rate.
    const SOCKET_BUFFER: usize = 4 << 20;

    /// An echo server over QUIC, and its client
    #[derive(Parser)]
    #[command(name = "quic_echo")]
    pub(crate) enum CommandLine {
        /// Echo each stream of each client
        Server {
            /// The address and port to receive on; port 0 chooses a free one
            #[arg(default_value = "127.0.0.1:4433")]
            address: SocketAddr,
        },
        /// Send texts, each on a stream of its own, and print what comes back
        Client {
            /// The address and port of the server
            server: SocketAddr,
            /// The texts
            #[arg(required_unless_present = "bytes")]
            texts: Vec<String>,
            /// Send this number of bytes as well, compare each one that comes back, and print the time
            #[arg(long, value_name = "COUNT")]
            bytes: Option<usize>,
        },
    }

    /// Opens a port for QUIC.
    fn open(reactor: &Reactor, address: SocketAddr, service: Option<Service>) -> ropewalk::Result<Quic> {
        let binding = UdpBinding::new(address).receive_buffer(SOCKET_BUFFER).send_buffer(SOCKET_BUFFER);
        Quic::open(reactor, binding, EndpointConfig::default(), service)
    }

    /// Takes the next bytes of a stream that have arrived.
    fn next_chunk(connection: &mut Connection, id: StreamId) -> Result<Option<Chunk>, ReadError> {
        let mut stream = connection.recv_stream(id);
        // A stream that was read to its end cannot be read again.
        let Ok(mut chunks) = stream.read(true) else { return Err(ReadError::Blocked) };
        let next = chunks.next(usize::MAX);
        // `Quic` sends what results from reading.
        let _ = chunks.finalize();
        next
    }

    /// Sends each stream back.
    #[derive(Default)]
    struct Echo {
        /// The next chunk of each stream, of which this number of bytes was sent back.
        streams: BTreeMap<StreamId, (Chunk, usize)>,
    }

    impl Echo {
        /// Sends back what has arrived. Reads only what can be sent, so that a slow client is slowed down.
        fn echo(&mut self, connection: &mut Connection, id: StreamId) {
            loop {
                if let Some((chunk, sent)) = self.streams.get_mut(&id) {
                    match connection.send_stream(id).write(&chunk.bytes[*sent..]) {
                        Ok(count) => *sent += count,
                        // `Writable` follows, or the client does not want the stream any more.
                        Err(_) => return,
                    }
                    if *sent < chunk.bytes.len() {
                        continue;
                    }
                }
                self.streams.remove(&id);
                match next_chunk(connection, id) {
                    Ok(Some(chunk)) => drop(self.streams.insert(id, (chunk, 0))),
                    Ok(None) => return drop(connection.send_stream(id).finish()),
                    Err(_) => return,
                }
            }
        }
    }

    impl Application for Echo {
        fn event(&mut self, connection: &mut Connection, _now: Instant, event: Event) {
            match event {
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    while let Some(id) = connection.streams().accept(Dir::Bi) {
                        self.echo(connection, id);
                    }
                }
                Event::Stream(StreamEvent::Readable { id } | StreamEvent::Writable { id }) => self.echo(connection, id),
                _ => {}
            }
        }
    }

    /// Bytes to send on a stream, and the number of them that were sent and that came back.
    struct Question {
        bytes: Vec<u8>,
        sent: usize,
        echoed: usize,
    }

    impl Question {
        fn new(bytes: Vec<u8>) -> Question {
            Question { bytes, sent: 0, echoed: 0 }
        }

        /// Sends what the connection takes.
        fn send(&mut self, connection: &mut Connection, id: StreamId) {
            let mut stream = connection.send_stream(id);
            // The only error means that the stream takes no more now. `Writable` follows.
            while let Ok(count) = stream.write(&self.bytes[self.sent..]) {
                self.sent += count;
                if self.sent == self.bytes.len() {
                    return drop(stream.finish());
                }
            }
        }

        /// Compares what has come back. Returns whether this was the rest.
        fn compare(&mut self, connection: &mut Connection, id: StreamId) -> Result<bool, String> {
            loop {
                match next_chunk(connection, id) {
                    Ok(Some(chunk)) if self.bytes[self.echoed..].starts_with(&chunk.bytes) => {
                        self.echoed += chunk.bytes.len();
                    }
                    Ok(None) if self.echoed == self.bytes.len() => return Ok(true),
                    Err(ReadError::Blocked) => return Ok(false),
                    Err(error) => return Err(format!("the stream broke off: {error}")),
                    Ok(_) => return Err(format!("other bytes came back behind the first {}", self.echoed)),
                }
            }
        }
    }

    /// The outcome of a client. `None` while it waits for echoes.
    type Outcome = Rc<RefCell<Option<Result<(), String>>>>;

    /// Asks questions, and stops the reactor when all echoes have arrived.
    struct Client {
        reactor: Reactor,
        unasked: Vec<Question>,
        asked: BTreeMap<StreamId, Question>,
        outcome: Outcome,
    }

    impl Client {
        /// Opens a stream for each question, as far as the server allows it.
        fn ask(&mut self, connection: &mut Connection) {
            while !self.unasked.is_empty() {
                let Some(id) = connection.streams().open(Dir::Bi) else { return };
                let mut question = self.unasked.remove(0);
                question.send(connection, id);
                self.asked.insert(id, question);
            }
        }

        fn compare(&mut self, connection: &mut Connection, now: Instant, id: StreamId) {
            let Some(question) = self.asked.get_mut(&id) else { return };
            match question.compare(connection, id) {
                Ok(false) => return,
                Ok(true) => drop(self.asked.remove(&id)),
                Err(error) => return self.end(Err(error)),
            }
            if self.asked.is_empty() && self.unasked.is_empty() {
                connection.close(now, 0_u32.into(), "done".into());
                self.end(Ok(()));
            }
        }

        fn end(&self, outcome: Result<(), String>) {
            self.outcome.borrow_mut().get_or_insert(outcome);
            // The close of the connection leaves before the run ends.
            self.reactor.call_later(std::time::Duration::ZERO, |reactor| drop(reactor.stop()));
        }
    }

    impl Application for Client {
        fn event(&mut self, connection: &mut Connection, now: Instant, event: Event) {
            match event {
                Event::Connected | Event::Stream(StreamEvent::Available { dir: Dir::Bi }) => self.ask(connection),
                Event::Stream(StreamEvent::Writable { id }) => {
                    if let Some(question) = self.asked.get_mut(&id) {
                        question.send(connection, id);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.compare(connection, now, id),
                Event::ConnectionLost { reason } => self.end(Err(format!("the connection is lost: {reason}"))),
                _ => {}
            }
        }
    }

    fn connect(quic: &Quic, reactor: &Reactor, server: SocketAddr, questions: Vec<Vec<u8>>) -> Outcome {
        let outcome = Outcome::default();
        let unasked = questions.into_iter().map(Question::new).collect();
        let client = Client { reactor: reactor.clone(), unasked, asked: BTreeMap::new(), outcome: outcome.clone() };
        if let Err(error) = quic.connect(identity::client(), server, identity::NAME, client) {
            *outcome.borrow_mut() = Some(Err(error.to_string()));
        }
        outcome
    }

    fn serve(address: SocketAddr) -> ropewalk::Result<()> {
        let reactor = Reactor::new()?;
        let quic = open(&reactor, address, Some(Service::new(identity::server(), Echo::default)))?;
        println!("echoing on {}", quic.port().host());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| quic.close_all("the server stops"));
        reactor.run()
    }

    /// Asks, and prints the echoes.
    fn ask(server: SocketAddr, texts: Vec<String>, bytes: Option<usize>) -> ropewalk::Result<Result<(), String>> {
        let reactor = Reactor::new()?;
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let quic = open(&reactor, any.parse().expect("an address"), None)?;
        let pattern = |count| Vec::from_iter((0..count).map(|number: usize| (number % 251) as u8));
        let questions = texts.iter().map(|text| text.clone().into_bytes()).chain(bytes.map(pattern)).collect();
        let began = reactor.now();
        let outcome = connect(&quic, &reactor, server, questions);
        if outcome.borrow().is_none() {
            reactor.run()?;
        }
        let outcome = outcome.take().unwrap_or_else(|| Err("interrupted".into()));
        if outcome.is_ok() {
            texts.iter().for_each(|text| println!("{text}"));
            if let Some(bytes) = bytes {
                println!("{bytes} bytes and back in {:?}", reactor.now() - began);
            }
        }
        Ok(outcome)
    }

    pub(crate) fn run(line: CommandLine) -> ropewalk::Result<ExitCode> {
        match line {
            CommandLine::Server { address } => serve(address).map(|()| ExitCode::SUCCESS),
            CommandLine::Client { server, texts, bytes } => match ask(server, texts, bytes)? {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    eprintln!("quic_echo: {server}: {error}");
                    Ok(ExitCode::FAILURE)
                }
            },
        }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use ropewalk::testing::{Faults, MemoryReactor};

        use super::*;

        /// Asks an echo server on a simulated network. Returns the outcome.
        fn ask(faults: Faults, questions: Vec<Vec<u8>>) -> Result<(), String> {
            let net = MemoryReactor::seeded(7).with_faults(faults.latency(Duration::from_millis(5)));
            let service = Service::new(identity::server(), Echo::default);
            let server = open(&net, "10.0.0.1:4433".parse().unwrap(), Some(service)).unwrap();
            let client = open(&net, "10.0.0.2:0".parse().unwrap(), None).unwrap();
            let outcome = connect(&client, &net, server.port().host().inet().unwrap(), questions);
            net.run().unwrap();
            outcome.take().unwrap()
        }

        #[test]
        fn every_question_is_echoed() {
            // More than the 100 streams that a server allows at a time.
            let questions = (0..150).map(|number| vec![7; number * 100]).collect();
            assert_eq!(ask(Faults::none(), questions), Ok(()));
        }

        #[test]
        fn a_million_bytes_survive_losses() {
            assert_eq!(ask(Faults::none().lost(0.1).doubled(0.1), vec![vec![7; 1_000_000]]), Ok(()));
        }

        #[test]
        fn a_server_that_stops_closes_its_connections() {
            let net = MemoryReactor::new().with_faults(Faults::none().latency(Duration::from_millis(5)));
            let service = Service::new(identity::server(), Echo::default);
            let server = open(&net, "10.0.0.1:4433".parse().unwrap(), Some(service)).unwrap();
            let client = open(&net, "10.0.0.2:0".parse().unwrap(), None).unwrap();
            let outcome = connect(&client, &net, server.port().host().inet().unwrap(), vec![vec![7; 10_000_000]]);
            net.call_later(Duration::from_millis(100), move |_| server.close_all("the server stops"));
            net.run().unwrap();
            let error = outcome.take().unwrap().unwrap_err();
            assert!(error.contains("closed by peer: the server stops"), "{error}");
        }

        #[test]
        fn a_server_that_is_not_reached_is_an_error() {
            let error = ask(Faults::none().lost(1.0), vec![vec![7]]).unwrap_err();
            assert_eq!(error, "the connection is lost: timed out");
        }
    }
}

#[cfg(target_os = "linux")]
fn main() -> ropewalk::Result<std::process::ExitCode> {
    quic::run(clap::Parser::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this example needs the details of datagrams, which Linux has");
}
