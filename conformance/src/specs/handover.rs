//! Sockets that change hands: Reactor::connect_socket and Transport::release.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::transports::Released;
use ropewalk::{Address, ConnectorState, Deferred, Error, Phase, Reactor, Transport};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::links::{NOWHERE, Transports, assert_same_bytes, noise};
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::{after_some_turns, iterate_until, run_and_expect, run_until, when};
use crate::{run, specifications};

const MINUTE: Duration = Duration::from_secs(60);

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

fn tcp_socket() -> OwnedFd {
    socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
}

/// Returns a connection, and the blocking socket at its other end.
fn connected(reactor: &Reactor, script: &Script) -> (Transport, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (reactor.adopt_stream_connection(ours, &script.factory()).unwrap(), listener.accept().unwrap().0)
}

/// Continues a released connection with blocking calls: sends the rest, and returns everything received until the end.
fn continue_alone(released: Released) -> Vec<u8> {
    let mut stream = TcpStream::from(released.socket);
    stream.set_nonblocking(false).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let unsent = released.unsent;
    let writing = std::thread::spawn(move || {
        writer.write_all(&unsent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = released.received;
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    received
}

specifications! {
    handover;

    fn a_prepared_socket_connects(subject: &Subject) {
        // Reactor::connect_socket keeps what the program has set: the local address and an option.
        let (reactor, log) = (subject.reactor(), Log::new());
        let socket = tcp_socket();
        sockopt::set_socket_keepalive(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let socket = TcpStream::from(socket);
        let local = socket.local_addr().unwrap();
        let (server, client) = (Script::new(), Script::logged(&log, "client"));
        let peers = log.clone();
        let server = server.on_made(move |transport| {
            assert_eq!(*transport.peer(), Address::Inet(local));
            peers.add("server made");
            transport.write(b"x");
        });
        let client = client.on_data(|transport, _| {
            assert!(transport.tcp_keep_alive().unwrap());
            transport.lose_connection();
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let host = port.host().unwrap();
        let connector =
            reactor.connect_socket(socket, host.clone(), MINUTE, LoggingFactory::new(&log, client)).unwrap();
        assert_eq!((connector.destination(), connector.timeout()), (host.to_string(), Some(MINUTE)));
        log.expect(&["start factory", "started connecting"]);
        let seen = log.clone();
        run_until(&reactor, move || seen.contains("stop factory"));
        let of_client: Vec<_> = log.entries().into_iter().filter(|entry| entry != "server made").collect();
        assert_eq!(of_client, [
            "start factory",
            "started connecting",
            "build",
            "client made",
            "client data x",
            "client lost ConnectionDone",
            "connection lost ConnectionDone",
            "stop factory",
        ]);
        assert!(matches!(connector.connect(), Err(Error::Closed)), "a socket connects once");
    }

    fn a_prepared_unix_socket_connects(subject: &Subject) {
        // Reactor::connect_socket
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let _port = reactor.listen_unix(&path, Script::echo().factory()).unwrap();
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        reactor.connect_socket(socket, Address::Unix(path.into()), None, client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"x");
    }

    fn failures_of_a_prepared_socket_reach_the_factory(subject: &Subject) {
        // Reactor::connect_socket: refused, of another family, not a stream, not a socket. The socket is closed.
        let file = std::fs::File::open("/dev/null").unwrap();
        let sockets = [
            (tcp_socket(), "failed ConnectionRefused"),
            (socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap(), "failed Connect"),
            (socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap(), "failed Connect"),
            (OwnedFd::from(file), "failed Connect"),
        ];
        for (socket, failed) in sockets {
            let (reactor, log) = (subject.reactor(), Log::new());
            reactor.connect_socket(socket, NOWHERE, MINUTE, LoggingFactory::refusing(&log)).unwrap();
            run_and_expect(&reactor, &log, &["start factory", "started connecting", failed, "stop factory"]);
            assert_eq!(reactor.source_count(), 0);
        }
    }

    fn a_stopped_attempt_closes_its_prepared_socket(subject: &Subject) {
        // IConnector.stopConnecting, before the attempt has begun.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let connector = reactor.connect_socket(ours, NOWHERE, MINUTE, LoggingFactory::refusing(&log)).unwrap();
        connector.stop_connecting().unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        log.expect(&["start factory", "started connecting", "failed UserAborted", "stop factory"]);
    }

    fn a_released_socket_continues_without_the_reactor(subject: &Subject) {
        // Transport::release, in the middle of a conversation: the peer notices nothing.
        let (reactor, log, released) = (subject.reactor(), Log::new(), Rc::new(RefCell::new(None)));
        let given = released.clone();
        let script = Script::logged(&log, "ours").on_data(move |transport, data| {
            transport.write(b"answer, ");
            transport.unread(data);
            *given.borrow_mut() = Some(transport.release().unwrap());
            assert!(!transport.is_connected() && transport.handle().is_none());
            assert!(matches!(transport.release(), Err(Error::Closed)));
            transport.write(b"dropped");
        });
        let (_, mut theirs) = connected(&reactor, &script);
        theirs.write_all(b"question").unwrap();
        let seen = log.clone();
        run_until(&reactor, move || seen.contains("ours lost Released"));
        log.expect(&["ours made", "ours data question", "ours lost Released"]);
        assert_eq!((reactor.source_count(), reactor.lingering_count()), (0, 0));
        theirs.write_all(b", and more").unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(continue_alone(released.take().unwrap()), b"question, and more");
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer, ");
    }

    fn release_hands_back_bytes_that_are_under_way(subject: &Subject) {
        // Transport::release. The peer reads nothing at first, and the protocol is paused. Each byte is somewhere: in
        // the handed back ones, or in the system's buffers.
        let reactor = subject.reactor();
        let (answer, question) = (noise(TOO_MUCH, 1), noise(100_000, 2));
        let received = Cell::new(0);
        let script = Script::new().on_data(move |transport, data| {
            transport.write(data);
            received.set(received.get() + data.len());
            if received.get() >= 1000 {
                transport.pause_producing();
            }
        });
        let (transport, theirs) = connected(&reactor, &script);
        let mut writer = theirs.try_clone().unwrap();
        let bytes = question.clone();
        let asking = std::thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        // The protocol has received some bytes when it pauses.
        iterate_until(&reactor, || transport.is_paused());
        let first = script.received();
        transport.write(&answer);
        iterate_until(&reactor, || true);
        assert!(transport.buffered() > 0, "the test needs a queue");
        let released = transport.release().unwrap();
        assert!(!released.unsent.is_empty());
        let reading = std::thread::spawn(move || {
            let (mut received, mut theirs) = (Vec::new(), theirs);
            theirs.read_to_end(&mut received).unwrap();
            received
        });
        let rest = continue_alone(released);
        asking.join().unwrap();
        assert_same_bytes(&[first.clone(), rest].concat(), &question);
        assert_same_bytes(&reading.join().unwrap(), &[first, answer].concat());
    }

    fn a_release_is_reported_in_a_later_step(subject: &Subject) {
        // Transport::release from outside callbacks, and in the call that stops the reactor. A producer is stopped
        // first.
        for stops in [false, true] {
            let (reactor, log) = (subject.reactor(), Log::new());
            let (transport, _theirs) = connected(&reactor, &Script::logged(&log, "ours"));
            let notes = log.clone();
            let stopped = Rc::new(Notes(notes));
            transport.register_producer(ropewalk::transports::Producer::push(stopped)).unwrap();
            let called = log.clone();
            reactor.add_system_event_trigger(Phase::During, "shutdown", log.note("shutdown"));
            reactor.call_later(Duration::ZERO, move |reactor| {
                drop(transport.release().unwrap());
                called.add("returned");
                if stops { stop(reactor) } else { after_some_turns(reactor, stop) }
            });
            run(&reactor);
            let mut entries = log.entries();
            entries.retain(|entry| entry != "shutdown");
            assert_eq!(entries, ["ours made", "returned", "producer stopped", "ours lost Released"]);
        }
    }

    fn the_end_of_a_run_reports_a_release(subject: &Subject) {
        // IProtocol.connectionLost comes exactly once. The shutdown completes while events are dispatched, so no
        // `prepare` follows.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, _theirs) = connected(&reactor, &Script::logged(&log, "ours"));
        let (deferred, resolver) = Deferred::<()>::new();
        let waits = RefCell::new(Some(deferred));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_: &Reactor| waits.take().expect("one shutdown"));
        let resolver = RefCell::new(Some(resolver));
        let asks = Script::new().on_data(move |_, _| {
            drop(transport.release().unwrap());
            resolver.take().expect("one question").callback(()).unwrap();
        });
        let (_asked, mut theirs) = connected(&reactor, &asks);
        reactor.call_later(Duration::ZERO, move |reactor| {
            stop(reactor);
            theirs.write_all(b"x").unwrap();
            std::mem::forget(theirs);
        });
        run(&reactor);
        log.expect(&["ours made", "ours lost Released"]);
    }

    fn a_connection_that_cannot_be_released_stays(subject: &Subject) {
        // Transport::release: a layer's bytes are of no use without the layer.
        let (reactor, log, clients) = (subject.reactor(), Log::new(), Transports::new());
        let client = Script::new().listed_in(&clients).on_made(|transport| {
            transport.start_layer(crate::scrambler::Scrambler::new(), MINUTE).unwrap();
        });
        let server = Script::logged(&log, "server");
        let _port = subject.join(&reactor, &server, &client);
        let made = clients.clone();
        when(&reactor, move || !made.all().is_empty(), move |reactor| {
            let transport = clients.first();
            let error = transport.release().unwrap_err();
            assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == ErrorKind::InvalidInput), "{error}");
            assert!(transport.is_connected());
            stop(reactor);
        });
        run(&reactor);
    }
}

struct Notes(Log);

impl ropewalk::transports::PushProducer for Notes {
    fn pause_producing(&self) {}

    fn resume_producing(&self) {}

    fn stop_producing(&self) {
        self.0.add("producer stopped");
    }
}
