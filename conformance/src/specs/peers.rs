//! IReactorTCP against foreign peers: plain blocking sockets in threads.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ropewalk::proto::{Layer, LayerState, Outbox};
use ropewalk::{Destination, Error, Port, Reactor};
use rustix::net::sockopt::set_socket_linger;

use crate::links::{Countdown, Transports, assert_same_bytes, noise};
use crate::scrambler::Scrambler;
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::iterate_until;
use crate::{Subject, run, specifications};

fn serve(subject: &Subject, script: &Script) -> (Reactor, Port, std::net::SocketAddr) {
    let reactor = subject.reactor();
    let port = reactor.listen_tcp("127.0.0.1:0", script.factory()).unwrap();
    let host = port.host().unwrap().inet().unwrap();
    (reactor, port, host)
}

/// Closes the stream with a reset.
fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A layer that is open at once, and fails when the flag is set. Its final byte is `E`, and its close is `C`.
struct Failing(Rc<Cell<bool>>);

impl Layer for Failing {
    fn incoming(&mut self, received: &mut [u8], _: &mut Outbox, _: &mut Outbox) -> io::Result<usize> {
        Ok(received.len())
    }

    fn incoming_ended(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn outgoing(&mut self, _: &mut [u8], _: &mut Outbox, queue: &mut Outbox, _: usize) -> io::Result<()> {
        if !self.0.get() {
            return Ok(());
        }
        queue.write(b"E");
        Err(ErrorKind::InvalidData.into())
    }

    fn close(&mut self, _: &mut [u8], queue: &mut Outbox) {
        queue.write(b"C");
    }

    fn state(&self) -> LayerState {
        LayerState::OPEN
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

specifications! {
    peers;

    fn a_plain_socket_gets_its_echo_before_the_end(subject: &Subject) {
        // ITransport, as a foreign peer observes it.
        let (reactor, _port, host) = serve(subject, &Script::echo().stop_when_lost());
        let sent = noise(3_000_000, 1);
        let peer = thread::spawn(move || {
            let mut writer = TcpStream::connect(host).unwrap();
            let mut reader = writer.try_clone().unwrap();
            let bytes = sent.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&bytes).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            writing.join().unwrap();
            (sent, received)
        });
        run(&reactor);
        let (sent, received) = peer.join().unwrap();
        assert_same_bytes(&received, &sent);
    }

    fn settled_bytes_reach_the_peer_without_a_turn(subject: &Subject) {
        // Reactor::settle. A provider may collect sends for its next wait, but no wait follows here.
        let servers = Transports::new();
        let (reactor, _port, host) = serve(subject, &Script::new().listed_in(&servers));
        let mut peer = TcpStream::connect(host).unwrap();
        iterate_until(&reactor, || !servers.all().is_empty());
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for round in 0..3 {
            servers.first().write(&[round]);
            reactor.settle().unwrap();
            let mut received = [0xff];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(received, [round]);
        }
    }

    fn a_reset_by_the_peer_is_connection_lost_with_its_cause(subject: &Subject) {
        // IProtocol.connectionLost: the reason is ConnectionLost for a reset or any other errno.
        let log = Log::new();
        let server = Script::logged(&log, "server").on_made(|transport| transport.write(b"x")).stop_when_lost();
        let server = server.on_lost(|_, reason| {
            let Error::ConnectionLost(Some(cause)) = reason else { panic!("{reason:?}") };
            assert_eq!(cause.kind(), ErrorKind::ConnectionReset);
            assert!(reason.to_string().starts_with("connection was lost: "), "{reason}");
        });
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            reset(stream);
        });
        run(&reactor);
        peer.join().unwrap();
        log.expect(&["server made", "server lost ConnectionLost"]);
    }

    fn a_connection_reset_before_accept_affects_no_other(subject: &Subject) {
        // accept(2): ECONNABORTED and similar errors concern one connection.
        let server = Script::echo().on_data(|transport, _| stop(&transport.reactor()));
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            for _ in 0..50 {
                reset(TcpStream::connect(host).unwrap());
            }
            let mut last = TcpStream::connect(host).unwrap();
            last.write_all(b"x").unwrap();
            let _ = last.read(&mut [0]);
        });
        run(&reactor);
        peer.join().unwrap();
        assert_eq!(server.received(), b"x");
    }

    fn a_reactor_that_stops_sends_the_close_of_a_layer(subject: &Subject) {
        // RFC 8446, section 6.1: without a close the peer takes the end for a truncation.
        let server = Script::new().on_made(|transport| {
            transport.start_layer(Scrambler::new(), Duration::from_secs(10)).expect("it has none");
        });
        let server = server.on_opened(|transport| {
            transport.write(b"bye");
            stop(&transport.reactor());
        });
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            stream.write_all(b"H").unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), [Scrambler::greeting_with(b"bye"), b"C".to_vec()].concat());
    }

    fn a_layer_that_fails_at_the_end_of_a_run_is_not_closed(subject: &Subject) {
        // Layer: no bytes follow the final bytes of a layer that has failed, so it is not asked to close.
        let (log, fails) = (Log::new(), Rc::new(Cell::new(false)));
        let (lost, flag) = (log.clone(), fails.clone());
        let server = Script::new().on_made(move |transport| {
            transport.start_layer(Box::new(Failing(flag.clone())), Duration::from_secs(10)).expect("it has none");
        });
        let server = server.on_opened(move |transport| {
            let fails = fails.clone();
            transport.reactor().call_later(Duration::ZERO, move |reactor| {
                fails.set(true);
                stop(reactor);
            });
        });
        let server = server.on_lost(move |_, reason| lost.add(reason.to_string()));
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            let mut received = Vec::new();
            TcpStream::connect(host).unwrap().read_to_end(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), b"E");
        log.expect(&["connection was lost: layer \"Failing\": invalid data"]);
    }

    fn an_abort_is_a_reset_for_the_peer(subject: &Subject) {
        // ITCPTransport.abortConnection
        let server = Script::new().on_data(|transport, _| transport.abort_connection()).stop_when_lost();
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            stream.write_all(b"x").unwrap();
            stream.read(&mut [0]).unwrap_err().kind()
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), ErrorKind::ConnectionReset);
    }

    fn a_half_close_is_the_end_of_the_input_for_the_peer(subject: &Subject) {
        // ITCPTransport.loseWriteConnection
        let server = Script::new().on_made(|transport| {
            transport.write(b"question");
            transport.lose_write_connection();
        });
        let (reactor, _port, host) = serve(subject, &server.clone().stop_when_lost());
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            stream.write_all(b"answer").unwrap();
            question
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), "question");
        assert_eq!(server.received(), b"answer");
    }

    fn a_peer_that_never_stops_sending_starves_no_other_source(subject: &Subject) {
        // A connection gets 256 KiB or 32 reads in each turn. The reader is slower than the sender, so more bytes are
        // always waiting. The sender continues until the test is over.
        let (this_turn, most) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(0_usize)));
        let (bytes, reactor) = (this_turn.clone(), subject.reactor());
        struct Slow(Rc<Cell<usize>>);
        impl ropewalk::Protocol for Slow {
            fn data_received(&mut self, _transport: &ropewalk::Transport, data: &[u8]) {
                std::hint::black_box(noise(2 * data.len(), 1));
                self.0.set(self.0.get() + data.len());
            }
        }
        let port = reactor.listen_tcp("127.0.0.1:0", move || Slow(bytes.clone())).unwrap();
        let host = port.host().unwrap().inet().unwrap();
        let sender = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            let piece = vec![0; 256 * 1024];
            while stream.write_all(&piece).is_ok() {}
        });
        fn tick(reactor: &Reactor, left: usize, this_turn: Rc<Cell<usize>>, most: Rc<Cell<usize>>) {
            most.set(most.get().max(this_turn.take()));
            // Turns are counted only once the flood has begun.
            let left = if most.get() > 0 { left - 1 } else { left };
            match left {
                0 => stop(reactor),
                _ => drop(reactor.call_later(Duration::ZERO, move |reactor| tick(reactor, left, this_turn, most))),
            }
        }
        let highest = most.clone();
        reactor.call_when_running(move |reactor| tick(reactor, 40, this_turn, highest));
        run(&reactor);
        sender.join().unwrap();
        assert!(most.get() <= (256 + 64) * 1024, "{} bytes in one turn", most.get());
    }

    fn an_unresponsive_host_fails_after_the_timeout(subject: &Subject) {
        // IReactorTCP.connectTCP: timeout. A full accept queue answers no connection request: listen(2).
        let listener = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let listener = TcpListener::from(listener);
        let host = listener.local_addr().unwrap();
        let (reactor, log) = (subject.reactor(), Log::new());
        // The first clients fill the queue. The system queues one or two clients more than the backlog.
        let finished = Countdown::new(1);
        for _ in 0..4 {
            let finished = finished.clone();
            let after = move |connector: &ropewalk::Connector| finished.count(&connector.try_reactor().unwrap());
            let there = Destination::from(host).timeout(Duration::from_millis(50));
            reactor.connect_tcp(there, LoggingFactory::new(&log, Script::new()).after(after)).unwrap();
        }
        run(&reactor);
        assert!(log.contains("failed ConnectTimedOut"), "{:?}", log.entries());
        drop(listener);
    }

    fn binding_to_a_foreign_address_is_an_error(subject: &Subject) {
        // ConnectBindError, CannotListenError. 192.0.2.0/24 is for documentation: RFC 5737.
        let (reactor, log) = (subject.reactor(), Log::new());
        let error = reactor.listen_tcp("203.0.113.7:0", Script::new().factory()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(..)), "{error:?}");
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let there = Destination::from(port.host().unwrap().inet().unwrap()).bind("203.0.113.7:0".parse().unwrap());
        let factory =
            LoggingFactory::new(&log, Script::new()).after(|connector| stop(&connector.try_reactor().unwrap()));
        reactor.connect_tcp(there, factory).unwrap();
        run(&reactor);
        assert!(log.contains("failed ConnectBind"), "{:?}", log.entries());
    }

    fn the_socket_handle_is_accessible(subject: &Subject) {
        // ISystemHandle.getHandle
        let server = Script::new().on_made(|transport| {
            assert!(transport.handle().is_some());
            stop(&transport.reactor());
        });
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || TcpStream::connect(host).unwrap());
        run(&reactor);
        drop(peer.join().unwrap());
    }

    fn writes_from_calls_of_many_threads_arrive_whole(subject: &Subject) {
        // IReactorFromThreads.callFromThread is how threads reach a connection. Each call's write is one piece.
        let (sender, receiver) = mpsc::channel();
        let server = Script::new().on_made(move |transport| sender.send(transport.peer().clone()).unwrap());
        let (reactor, _port, host) = serve(subject, &server);
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(host).unwrap();
            stream.write_all(b"x").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.local_addr().unwrap()
        });
        let handle = reactor.thread_handle();
        let stopper = thread::spawn(move || {
            let address = peer.join().unwrap();
            handle.call_from_thread(stop);
            address
        });
        run(&reactor);
        assert_eq!(receiver.recv().unwrap(), stopper.join().unwrap().into());
        assert_eq!(server.received(), b"x");
    }
}
