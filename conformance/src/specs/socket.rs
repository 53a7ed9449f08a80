//! IReactorSocket: sockets that were opened elsewhere.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, Error, Factory, Interface, Port, Protocol, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use crate::links::{Countdown, Transports, noise};
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::{iterate_until, run_until};
use crate::{run, specifications};

fn is_non_blocking(socket: impl AsFd) -> bool {
    fcntl_getfl(socket).expect("an open descriptor").contains(OFlags::NONBLOCK)
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn factory(script: &Script) -> impl Factory + use<> {
    LoggingFactory::new(&Log::new(), script.clone())
}

/// The error of adopting `socket` as a port.
fn refused_port(reactor: &Reactor, socket: impl Into<OwnedFd>) -> String {
    match reactor.adopt_stream_port(socket.into(), factory(&Script::new())) {
        Err(error @ Error::Io(..)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The error of adopting `socket` as a connection.
fn refused_connection(reactor: &Reactor, socket: impl Into<OwnedFd>) -> String {
    match reactor.adopt_stream_connection(socket.into(), &factory(&Script::new())) {
        Err(error @ Error::Io(..)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Two sockets that share one accept queue: `rest` accepts the connections that the port leaves.
struct Shared {
    port: Port,
    rest: TcpListener,
    clients: Vec<TcpStream>,
}

/// Returns a port that has accepted one connection, and whose socket another process has as well.
fn shared(reactor: &Reactor, factory: impl Factory + 'static) -> Shared {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rest = listener.try_clone().unwrap();
    let port = reactor.adopt_stream_port(listener, factory).unwrap();
    let mut shared = Shared { port, rest, clients: Vec::new() };
    shared.come(1);
    iterate_until_accepted(reactor, 1);
    shared
}

impl Shared {
    /// Connects `count` more clients.
    fn come(&mut self, count: usize) {
        let address = self.rest.local_addr().unwrap();
        self.clients.extend((0..count).map(|_| TcpStream::connect(address).unwrap()));
    }

    /// Asserts that exactly the last `count` clients are in the system's queue.
    fn leaves(&mut self, count: usize) {
        let unserved = self.clients.split_off(self.clients.len() - count);
        for client in &unserved {
            let readable = &mut [PollFd::new(&self.rest, PollFlags::IN)];
            rustix::event::poll(readable, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap();
            assert_eq!(self.rest.accept().expect("it was left").1, client.local_addr().unwrap());
        }
        assert_eq!(self.rest.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    /// Asserts that all other clients get their echo.
    fn serves(&mut self, reactor: &Reactor) {
        for client in &mut self.clients {
            client.write_all(b"x").unwrap();
            client.set_nonblocking(true).unwrap();
        }
        iterate_until(reactor, || self.clients.iter().all(|client| client.peek(&mut [0]).is_ok()));
        for client in &mut self.clients {
            assert_eq!(client.read(&mut [0; 2]).expect("an echo"), 1);
        }
    }
}

/// Turns the loop until a reactor with one port has `count` connections, and some turns more.
fn iterate_until_accepted(reactor: &Reactor, count: usize) {
    iterate_until(reactor, || reactor.source_count() > count);
}

/// Turns the loop until the port has stopped, and some turns more.
fn iterate_until_stopped(reactor: &Reactor, port: &Port) {
    iterate_until(reactor, || port.host().is_err());
    assert!(matches!(port.host(), Err(Error::Closed)));
}

/// A factory that acts on its own port before it builds an echo.
struct Acting {
    port: Rc<RefCell<Option<Port>>>,
    act: fn(&Port),
}

impl Factory for Acting {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.port.borrow().iter().for_each(self.act);
        Some(Box::new(Script::echo()))
    }
}

specifications! {
    socket;

    fn a_paused_port_leaves_new_connections_to_another_process(subject: &Subject) {
        // IPushProducer.pauseProducing. Another process could not serve a connection that was accepted in advance.
        let reactor = subject.reactor();
        let mut shared = shared(&reactor, Script::echo().factory());
        shared.port.pause_producing();
        shared.come(3);
        iterate_until(&reactor, || true);
        shared.leaves(3);
        shared.come(2);
        shared.port.resume_producing();
        shared.serves(&reactor);
    }

    fn a_port_paused_by_its_factory_leaves_the_rest_in_the_queue(subject: &Subject) {
        // A connection limit pauses its port when the limit is reached. No further descriptor may be used.
        let (reactor, port) = (subject.reactor(), Rc::default());
        let mut shared = shared(&reactor, Acting { port: Rc::clone(&port), act: Port::pause_producing });
        *port.borrow_mut() = Some(shared.port.clone());
        shared.come(5);
        iterate_until_accepted(&reactor, 2);
        shared.leaves(4);
        shared.serves(&reactor);
    }

    fn a_stopped_port_leaves_its_queue_to_another_process(subject: &Subject) {
        // IListeningPort.stopListening in a program that is replaced by its successor.
        let (reactor, port) = (subject.reactor(), Rc::default());
        let act = |port: &Port| drop(port.stop_listening());
        let mut shared = shared(&reactor, Acting { port: Rc::clone(&port), act });
        *port.borrow_mut() = Some(shared.port.clone());
        shared.come(5);
        iterate_until_stopped(&reactor, &shared.port);
        shared.leaves(4);
        shared.serves(&reactor);
    }

    fn a_drained_port_leaves_later_connections_to_another_process(subject: &Subject) {
        // Port::drain: the connections in the queue are accepted.
        let (reactor, port) = (subject.reactor(), Rc::default());
        let act = |port: &Port| drop(port.drain());
        let mut shared = shared(&reactor, Acting { port: Rc::clone(&port), act });
        *port.borrow_mut() = Some(shared.port.clone());
        shared.come(5);
        iterate_until_stopped(&reactor, &shared.port);
        shared.come(3);
        iterate_until(&reactor, || true);
        shared.leaves(3);
        shared.serves(&reactor);
    }

    fn a_listening_tcp_socket_becomes_a_port(subject: &Subject) {
        // IReactorSocket.adoptStreamPort
        let (reactor, log) = (subject.reactor(), Log::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap();
        let port = reactor.adopt_stream_port(listener, LoggingFactory::new(&log, Script::echo())).unwrap();
        assert_eq!(port.host().unwrap(), host.into());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        reactor.connect_tcp(host, client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"x");
        log.expect(&["start factory", "build", "stop factory"]);
    }

    fn a_listening_unix_socket_becomes_a_port(subject: &Subject) {
        // IReactorSocket.adoptStreamPort. The socket's file belongs to the program that made it.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let listener = UnixListener::bind(&path).unwrap();
        let port = reactor.adopt_stream_port(listener, factory(&Script::echo())).unwrap();
        assert_eq!(port.host().unwrap(), Address::Unix(path.as_path().into()));
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        reactor.connect_unix(&path, client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"x");
        assert!(path.exists());
        std::fs::remove_file(path).unwrap();
    }

    fn a_blocking_listening_socket_becomes_non_blocking(subject: &Subject) {
        // IReactorSocket.adoptStreamPort: a blocking accept would stop the loop.
        let reactor = subject.reactor();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copy = listener.try_clone().unwrap();
        assert!(!is_non_blocking(&copy));
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let log = Log::new();
        let _port = reactor.adopt_stream_port(listener, LoggingFactory::new(&log, Script::new())).unwrap();
        assert!(is_non_blocking(&copy));
        // The port accepts until the queue is empty, where a blocking socket would block.
        let seen = log.clone();
        run_until(&reactor, move || seen.contains("build"));
        assert_eq!(log.count("build"), 1);
        drop(client);
    }

    fn stopping_an_adopted_port_leaves_a_copy_listening(subject: &Subject) {
        // IReactorSocket.adoptStreamPort: an adopted socket is closed without shutdown(2).
        let reactor = subject.reactor();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copy = listener.try_clone().unwrap();
        let port = reactor.adopt_stream_port(listener, factory(&Script::new())).unwrap();
        let again = reactor.clone();
        port.stop_listening().add_callback(move |()| stop(&again));
        run(&reactor);
        copy.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(copy.local_addr().unwrap()).unwrap();
        assert_eq!(copy.accept().unwrap().1, client.local_addr().unwrap());
    }

    fn a_connected_socket_becomes_a_connection(subject: &Subject) {
        // IReactorSocket.adoptStreamConnection calls only buildProtocol(peer). The factory is not started or stopped.
        struct Peers(Log);
        impl Factory for Peers {
            fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
                self.0.add(peer.to_string());
                Some(Box::new(Script::echo().stop_when_lost()))
            }
            fn start_factory(&self) {
                self.0.add("started");
            }
            fn stop_factory(&self) {
                self.0.add("stopped");
            }
        }
        let (reactor, log, (mut client, server)) = (subject.reactor(), Log::new(), connected());
        let transport = reactor.adopt_stream_connection(server, &Peers(log.clone())).unwrap();
        assert_eq!(*transport.peer(), client.local_addr().unwrap().into());
        assert_eq!(transport.host().unwrap(), client.peer_addr().unwrap().into());
        assert!(transport.connector().is_none());
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        run(&reactor);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        log.expect(&[&client.local_addr().unwrap().to_string()]);
    }

    fn a_connected_unix_socket_becomes_a_connection(subject: &Subject) {
        // IReactorSocket.adoptStreamConnection accepts INET, INET6 and UNIX.
        let (reactor, (mut client, server)) = (subject.reactor(), UnixStream::pair().unwrap());
        let transport = reactor.adopt_stream_connection(server, &factory(&Script::echo().stop_when_lost())).unwrap();
        assert_eq!(*transport.peer(), Address::Unnamed);
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        run(&reactor);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
    }

    fn a_blocking_connection_becomes_non_blocking(subject: &Subject) {
        // The written bytes exceed the socket's buffers, and the peer does not read. A write on a blocking socket would
        // never return.
        let (reactor, (client, server)) = (subject.reactor(), connected());
        let copy = server.try_clone().unwrap();
        let transport = reactor.adopt_stream_connection(server, &factory(&Script::new())).unwrap();
        assert!(is_non_blocking(&copy));
        transport.write(&noise(20_000_000, 1));
        reactor.call_later(Duration::from_millis(10), stop);
        run(&reactor);
        drop(client);
    }

    fn an_adopted_connection_belongs_to_the_reactor(subject: &Subject) {
        // Twisted duplicates the descriptor, and IReactorSocket here does not. To keep it, duplicate it first.
        let (reactor, (mut client, server)) = (subject.reactor(), connected());
        let script = Script::new().on_made(ropewalk::Transport::lose_connection);
        let transport = reactor.adopt_stream_connection(server, &factory(&script)).unwrap();
        assert!(!transport.is_connected());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    fn bytes_from_before_the_adoption_are_delivered(subject: &Subject) {
        // IReactorSocket.adoptStreamConnection: a socket may be handed over in the middle of a conversation.
        let (reactor, (mut client, server)) = (subject.reactor(), connected());
        client.write_all(b"early").unwrap();
        drop(client);
        let script = Script::new().stop_when_lost();
        reactor.adopt_stream_connection(server, &factory(&script)).unwrap();
        run(&reactor);
        assert_eq!(script.received(), b"early");
    }

    fn a_factory_that_builds_no_protocol_closes_the_socket(subject: &Subject) {
        // If the factory builds no protocol, IReactorSocket.adoptStreamConnection closes the socket, as a port does.
        let (reactor, (mut client, server)) = (subject.reactor(), connected());
        let outcome = reactor.adopt_stream_connection(server, &LoggingFactory::refusing(&Log::new()));
        assert!(matches!(outcome, Err(Error::Closed)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_descriptor_that_is_not_a_socket_is_rejected(subject: &Subject) {
        // A wrong descriptor is a likely mistake, so the error's text names it.
        let reactor = subject.reactor();
        let file = || std::fs::File::open("/dev/null").unwrap();
        for text in [refused_port(&reactor, file()), refused_connection(&reactor, file())] {
            assert!(text.contains("not a socket"), "{text}");
        }
        let error = reactor.adopt_stream_connection(file(), &factory(&Script::new())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTSOCK.raw_os_error()));
        assert_eq!(reactor.source_count(), 0);
    }

    fn datagram_sockets_are_rejected(subject: &Subject) {
        // UnsupportedSocketType
        let reactor = subject.reactor();
        let inet = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let unix = || UnixDatagram::unbound().unwrap();
        let texts = [
            refused_port(&reactor, inet()),
            refused_connection(&reactor, inet()),
            refused_port(&reactor, unix()),
            refused_connection(&reactor, unix()),
        ];
        assert!(texts.iter().all(|text| text.contains("not a stream socket")), "{texts:?}");
    }

    #[cfg(target_os = "linux")]
    fn sockets_of_a_foreign_family_are_rejected(subject: &Subject) {
        // UnsupportedAddressFamily
        let reactor = subject.reactor();
        let foreign = || rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        let port = reactor.adopt_stream_port(foreign(), factory(&Script::new())).map(drop);
        let connection = reactor.adopt_stream_connection(foreign(), &factory(&Script::new())).map(drop);
        for error in [port.unwrap_err(), connection.unwrap_err()] {
            assert!(matches!(error, Error::UnsupportedAddressFamily(_)), "{error:?}");
            assert!(error.to_string().contains("expected INET, INET6 or UNIX"), "{error}");
        }
    }

    fn a_connection_is_rejected_as_a_port(subject: &Subject) {
        // IReactorSocket.adoptStreamPort. A port is rejected as a connection, too.
        let (reactor, (_client, server)) = (subject.reactor(), connected());
        let text = refused_port(&reactor, server);
        assert!(text.contains("does not listen"), "{text}");
        let text = refused_connection(&reactor, TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(text.contains("a listening socket"), "{text}");
    }

    fn an_unconnected_socket_is_rejected_as_a_connection(subject: &Subject) {
        // IReactorSocket.adoptStreamConnection
        let reactor = subject.reactor();
        for family in [AddressFamily::INET, AddressFamily::UNIX] {
            let idle = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
            refused_connection(&reactor, idle);
        }
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_rejected_socket_is_closed(subject: &Subject) {
        // The reactor owns the socket also after a rejection. A rejection changes no flag, because copies of the
        // descriptor share the flags.
        let (reactor, (client, server)) = (subject.reactor(), connected());
        let copy = server.try_clone().unwrap();
        refused_port(&reactor, server);
        assert!(!is_non_blocking(&copy));
        drop(copy);
        let mut client = client;
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    fn an_adopted_connection_gets_no_event_of_a_reused_key(subject: &Subject) {
        // The adopted connections get the keys and descriptor numbers of connections that end in the same batch.
        let (reactor, all, log) = (subject.reactor(), Transports::new(), Log::new());
        let (others, adopted) = (all.clone(), log.clone());
        let server = Script::new().listed_in(&all).on_data(move |transport, _| {
            let reactor = transport.reactor();
            for other in others.others(transport) {
                other.abort_connection();
            }
            let adopted = adopted.clone();
            reactor.call_later(Duration::ZERO, move |reactor| {
                for _ in 0..4 {
                    let (client, server) = connected();
                    let adopted = adopted.clone();
                    let script = Script::logged(&adopted, "adopted");
                    reactor.adopt_stream_connection(server, &factory(&script)).unwrap();
                    std::mem::forget(client);
                }
                reactor.call_later(Duration::from_millis(20), stop);
            });
        });
        subject.ready_together(&reactor, 4, &server);
        run(&reactor);
        assert_eq!(log.entries(), [["adopted made"; 4], ["adopted lost ConnectionLost"; 4]].concat());
    }

    fn adopting_a_connection_that_ends_at_once_leaks_nothing(subject: &Subject) {
        // The connection is adopted and ends in one callback.
        let (reactor, ends) = (subject.reactor(), Countdown::new(50));
        let counted = Script::new().on_made(ropewalk::Transport::abort_connection).counted_by(&ends);
        reactor.call_when_running(move |reactor| {
            for _ in 0..50 {
                reactor.adopt_stream_connection(connected().1, &factory(&counted)).unwrap();
            }
        });
        run(&reactor);
        assert_eq!(reactor.source_count(), 0);
    }

    fn this_provider_reports_that_it_adopts_sockets(subject: &Subject) {
        // The HOWTO on choosing a reactor: "Some of the interfaces may not be implemented."
        assert!(subject.reactor().provides(Interface::Socket));
    }

    fn a_panic_in_build_protocol_closes_an_adopted_connection(subject: &Subject) {
        // IReactorSocket.adoptStreamConnection: the descriptor is the reactor's, also when there is no protocol for it.
        struct Panics;
        impl Factory for Panics {
            fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
                panic!("a bug in build_protocol");
            }
        }
        let (reactor, (ours, mut theirs)) = (subject.plain_reactor(), connected());
        let error = reactor.adopt_stream_connection(ours, &Panics).unwrap_err();
        assert_eq!(error.to_string(), "build_protocol panicked: a bug in build_protocol");
        iterate_until(&reactor, || true);
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "the socket is closed");
        assert_eq!(reactor.source_count(), 0);
    }
}
