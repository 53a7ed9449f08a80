//! Panics in user code of every kind, in its destructors, and in the event provider: the loop continues, other
//! connections are served, and the log names the code that panicked with its file and line.

use std::any::Any;
use std::cell::RefCell;
use std::future::{pending, ready};
use std::io;
use std::panic::panic_any;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::interfaces::core::Phase;
use ropewalk::proto::panics::catch;
use ropewalk::proto::{Layer, LayerState, Outbox};
use ropewalk::transports::{Observer, Producer, PushProducer};
use ropewalk::{Address, ClientFactory, Connector, Error, Factory, PanicPolicy, Port, Protocol, Reactor, Transport};

use crate::fuse::Fuse;
use crate::links::Transports;
use crate::logged::logged;
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::waiting::{after_some_turns, iterate_until};
use crate::{Subject, quiet, run, specifications};

/// A number of bytes for which a write is sent at once.
static LARGE: [u8; 100_000] = [7; 100_000];

/// User code that panics in the one method or destructor that it is named after.
struct Trap {
    at: &'static str,
    in_destructor: &'static str,
}

impl Trap {
    fn new(at: &'static str, in_destructor: &'static str) -> Trap {
        Trap { at, in_destructor }
    }

    #[track_caller]
    fn pass(&self, method: &str) {
        assert!(self.at != method, "a bug in {method}");
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.at != self.in_destructor, "a bug in {}", self.at);
        }
    }
}

/// A server's factory and a client's.
struct TrappedFactory(Trap);

impl TrappedFactory {
    fn new(at: &'static str) -> TrappedFactory {
        TrappedFactory(Trap::new(at, "the destructor of a factory"))
    }
}

impl Factory for TrappedFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.pass("build_protocol");
        Some(Box::new(TrappedProtocol(Trap::new(self.0.at, "the destructor of a protocol"))))
    }

    fn start_factory(&self) {
        self.0.pass("start_factory");
    }

    fn stop_factory(&self) {
        self.0.pass("stop_factory");
    }

    fn is_paced(&self) -> bool {
        self.0.pass("is_paced");
        false
    }

    fn identity(&self) -> *const () {
        self.0.pass("identity");
        std::ptr::from_ref(self).cast()
    }
}

impl ClientFactory for TrappedFactory {
    fn started_connecting(&self, _connector: &Connector) {
        self.0.pass("started_connecting");
    }

    fn client_connection_failed(&self, _connector: &Connector, _reason: &Error) {
        self.0.pass("client_connection_failed");
    }

    fn client_connection_lost(&self, _connector: &Connector, _reason: &Error) {
        self.0.pass("client_connection_lost");
    }
}

/// A protocol that uses every kind of object that a connection may have, and then closes.
struct TrappedProtocol(Trap);

impl Protocol for TrappedProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        let at = self.0.at;
        self.0.pass("connection_made");
        transport.observe(Rc::new(TrappedObserver(Trap::new(at, "the destructor of an observer"))));
        transport.keep_until_lost(Trap::new(at, "the destructor of an attachment"));
        let producer = TrappedProducer(Trap::new(at, "the destructor of a producer"));
        transport.set_watermarks(2, 1);
        transport.register_producer(Producer::push(Rc::new(producer))).unwrap();
        if at.contains("layer") {
            let layer = TrappedLayer(Trap::new(at, "the destructor of a layer"));
            transport.start_layer(Box::new(layer), Duration::from_secs(5)).unwrap();
        }
        // A number of bytes that exceeds a socket's send buffer.
        let count = if at.ends_with("producing") { 8 << 20 } else { 5 };
        transport.write(&vec![7; count]);
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        self.0.pass("data_received");
        match self.0.at {
            "stop_producing" | "the destructor of a layer" => return transport.abort_connection(),
            "resume_producing" => return,
            _ => {}
        }
        transport.unregister_producer();
        transport.lose_write_connection();
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.0.pass("read_connection_lost");
        transport.lose_connection();
    }

    fn write_connection_lost(&mut self, _transport: &Transport) {
        self.0.pass("write_connection_lost");
    }

    fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
        self.0.pass("connection_lost");
    }
}

struct TrappedObserver(Trap);

impl Observer for TrappedObserver {
    fn bytes_received(&self, _count: usize) {
        self.0.pass("bytes_received");
    }

    fn bytes_written(&self, _count: usize) {
        self.0.pass("bytes_written");
    }
}

struct TrappedProducer(Trap);

impl PushProducer for TrappedProducer {
    fn pause_producing(&self) {
        self.0.pass("pause_producing");
    }

    fn resume_producing(&self) {
        self.0.pass("resume_producing");
    }

    fn stop_producing(&self) {
        self.0.pass("stop_producing");
    }
}

/// A layer that changes nothing.
struct TrappedLayer(Trap);

impl Layer for TrappedLayer {
    fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, _queue: &mut Outbox) -> io::Result<usize> {
        self.0.pass("incoming of a layer");
        plain.write(received);
        Ok(received.len())
    }

    fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
        self.0.pass("incoming_ended of a layer");
        Ok(())
    }

    fn outgoing(&mut self, _: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, _most: usize) -> io::Result<()> {
        self.0.pass("outgoing of a layer");
        while !plain.is_empty() {
            queue.write(plain.front());
            let count = plain.front().len();
            plain.advance(count);
        }
        Ok(())
    }

    fn close(&mut self, _held: &mut [u8], _queue: &mut Outbox) {
        self.0.pass("close of a layer");
    }

    fn state(&self) -> LayerState {
        LayerState::OPEN
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The places of a connection in which user code runs.
const OF_A_CONNECTION: [&str; 27] = [
    "build_protocol",
    "start_factory",
    "stop_factory",
    "is_paced",
    "identity",
    "started_connecting",
    "client_connection_lost",
    "connection_made",
    "data_received",
    "read_connection_lost",
    "write_connection_lost",
    "connection_lost",
    "bytes_received",
    "bytes_written",
    "pause_producing",
    "resume_producing",
    "stop_producing",
    "incoming of a layer",
    "outgoing of a layer",
    "close of a layer",
    "the destructor of a layer",
    "the destructor of a factory",
    "the destructor of a protocol",
    "the destructor of an observer",
    "the destructor of an attachment",
    "the destructor of a producer",
    "client_connection_failed",
];

/// Panics, with a line that the log must name.
#[track_caller]
fn bug(place: &str) {
    panic!("a bug in {place}");
}

/// A value whose destructor panics.
fn fragile(place: &'static str) -> Trap {
    Trap::new(place, place)
}

type Use = fn(&Reactor, &'static str);

/// Other places in which the reactor runs user code, or drops its values.
const OF_A_REACTOR: [(&str, Use); 13] = [
    ("a delayed call", |reactor, place| drop(reactor.call_later(Duration::ZERO, move |_| bug(place)))),
    ("a call from a thread", |reactor, place| reactor.call_from_thread(move |_| bug(place))),
    ("a trigger", |reactor, place| drop(reactor.call_when_running(move |_| bug(place)))),
    ("a task", |reactor, place| drop(reactor.spawn(async move { bug(place) }))),
    ("the destructor of a finished task", |reactor, place| {
        let value = fragile(place);
        drop(reactor.spawn(async move { drop(value) }));
    }),
    ("the destructor of a delayed call", |reactor, place| {
        let value = fragile(place);
        reactor.call_later(Duration::ZERO, move |_| drop(value));
    }),
    ("the destructor of a call from a thread", |reactor, place| {
        let value = fragile(place);
        reactor.call_from_thread(move |_| drop(value));
    }),
    ("the destructor of a trigger", |reactor, place| {
        let value = fragile(place);
        reactor.call_when_running(move |_| drop(value));
    }),
    ("the destructor of a cancelled call", |reactor, place| {
        let value = fragile(place);
        let call = reactor.call_later(Duration::from_secs(3600), move |_| drop(value));
        reactor.call_later(Duration::ZERO, move |_| call.cancel().unwrap());
    }),
    ("the destructor of a removed trigger", |reactor, place| {
        let value = fragile(place);
        let id = reactor.add_system_event_trigger(Phase::Before, "never", move |_| drop(value));
        reactor.call_later(Duration::ZERO, move |reactor| reactor.remove_system_event_trigger(&id).unwrap());
    }),
    ("the destructor of a cancelled task", |reactor, place| {
        let value = fragile(place);
        let task = reactor.spawn(async move {
            pending::<()>().await;
            drop(value);
        });
        reactor.call_later(Duration::from_millis(1), move |_| task.cancel());
    }),
    ("a callback of a Deferred", |reactor, place| {
        let fired = reactor.spawn(ready(()));
        drop(fired.add_callback(move |()| bug(place)));
    }),
    ("a service", |reactor, place| {
        let name = "a service of the user";
        let call = move |reactor: &Reactor| {
            drop(reactor.call_guarded(ropewalk::CallbackKind::Service, name, move || bug(place)));
        };
        reactor.call_later(Duration::ZERO, call);
    }),
];

/// Asserts that the log has errors that name the panic and its place: in this file, or in the file of `Fuse`.
#[track_caller]
fn assert_located(lines: &[String], place: &str) {
    let of_the_bug = format!("a bug in {place}");
    let errors = lines.iter().filter(|line| line.starts_with("ERROR"));
    let told: Vec<_> = errors.filter(|line| line.contains(&of_the_bug)).collect();
    assert!(!told.is_empty(), "{place} is not in the log: {lines:?}");
    let is_here = |line: &str| line.contains("specs/panics.rs:") || line.contains("src/fuse.rs:");
    assert!(told.iter().all(|line| is_here(line)), "{told:?}");
}

/// Makes a number of turns in which everything that is under way completes.
fn settle(reactor: &Reactor) {
    for _ in 0..12 {
        reactor.iterate(Some(Duration::from_millis(1))).expect("the loop lives");
    }
}

/// A connection that is open during the panic, and must be served afterwards.
struct Bystander {
    transport: Transport,
    client: Script,
    port: Port,
}

impl Bystander {
    fn new(subject: &Subject, reactor: &Reactor) -> Bystander {
        let (client, made) = (Script::new(), Transports::new());
        let port = subject.join(reactor, &Script::echo(), &client.clone().listed_in(&made));
        iterate_until(reactor, || !made.all().is_empty());
        Bystander { transport: made.first(), client, port }
    }

    /// Asserts that the connection still works, closes it, and asserts that no source is left.
    fn leave_after_an_answer(self, reactor: &Reactor, place: &str) {
        self.transport.write(b"alive?");
        iterate_until(reactor, || !self.client.received().is_empty());
        assert_eq!(self.client.received(), b"alive?", "{place}");
        self.transport.lose_connection();
        self.port.stop_listening();
        iterate_until(reactor, || reactor.source_count() == 0);
        assert_eq!(reactor.source_count(), 0, "{place}");
    }
}

/// Starts a client of the victim, and returns the reasons for which its two ends end, in the order of their ends.
fn victim(subject: &Subject, reactor: &Reactor, fuse: &Fuse, call: &'static str) -> Log {
    let (log, fuse) = (Log::new(), fuse.clone());
    let reason = |log: &Log| {
        let log = log.clone();
        move |_: &Transport, reason: &Error| log.add(format!("{reason}"))
    };
    let server = Script::new().on_lost(reason(&log));
    let client = Script::new().on_lost(reason(&log)).on_made(move |transport| {
        let (transport, fuse) = (transport.clone(), fuse.clone());
        // The provider's method must panic only after the server has accepted the connection.
        after_some_turns(&transport.reactor(), move |_| {
            fuse.light(call, 1);
            match call {
                "send_slice" => transport.write(&LARGE),
                "shutdown_write" => transport.lose_write_connection(),
                "set_reading" => transport.pause_producing(),
                "close" => transport.lose_connection(),
                "abort" => transport.abort_connection(),
                _ => transport.write(b"x"),
            }
        });
    });
    let port = subject.join(reactor, &server, &client);
    let ends = log.clone();
    iterate_until(reactor, move || ends.entries().len() == 2);
    port.stop_listening();
    log
}

specifications! {
    panics;

    fn a_panic_of_a_connection_is_logged_with_its_place(subject: &Subject) {
        // An exception in a callback is logged and never stops the loop. Destructors are user code as well.
        for place in OF_A_CONNECTION {
            let reactor = subject.plain_reactor();
            let lines = logged(|| {
                let bystander = Bystander::new(subject, &reactor);
                let port = subject.listen(&reactor, TrappedFactory::new(place));
                if place == "client_connection_failed" {
                    drop(subject.connect_to_nowhere(&reactor, TrappedFactory::new(place)));
                } else {
                    drop(subject.connect(&reactor, &port, TrappedFactory::new(place)));
                }
                // The port and the bystander are left.
                iterate_until(&reactor, || reactor.source_count() == 4);
                drop(port.stop_listening().add_errback(drop));
                drop(port);
                iterate_until(&reactor, || reactor.source_count() == 3);
                bystander.leave_after_an_answer(&reactor, place);
            });
            assert_located(&lines, place);
        }
    }

    fn a_panic_of_a_reactor_is_logged_with_its_place(subject: &Subject) {
        for (place, uses) in OF_A_REACTOR {
            let (reactor, log) = (subject.plain_reactor(), Log::new());
            let lines = logged(|| {
                uses(&reactor, place);
                let after = log.clone();
                after_some_turns(&reactor, move |reactor| {
                    after.add("alive");
                    stop(reactor);
                });
                run(&reactor);
            });
            log.expect(&["alive"]);
            assert_located(&lines, place);
        }
    }

    fn destructors_that_panic_with_the_reactor_are_logged(subject: &Subject) {
        // Every object is dropped, whichever of the others panics.
        let places = ["a delayed call", "a thread call", "a trigger", "a task", "an extension", "a protocol"];
        let lines = logged(|| {
            let reactor = subject.plain_reactor();
            let [call, thread, trigger, task, extension, protocol] = places.map(fragile);
            let kept = Rc::new(RefCell::new(Some(protocol)));
            let client = Script::new().on_made(move |transport| {
                transport.keep_until_lost(kept.take());
            });
            subject.join(&reactor, &Script::new(), &client);
            settle(&reactor);
            reactor.call_later(Duration::from_secs(3600), move |_| drop(call));
            reactor.call_from_thread(move |_| drop(thread));
            reactor.add_system_event_trigger(Phase::After, "never", move |_| drop(trigger));
            drop(reactor.spawn(async move {
                pending::<()>().await;
                drop(task);
            }));
            reactor.extension(move |_| extension);
        });
        for place in places {
            assert_located(&lines, place);
        }
    }

    fn a_payload_that_panics_when_dropped_does_no_harm(subject: &Subject) {
        // catch_unwind: "if the payload panics on drop". Each payload here panics with another one.
        struct Hydra;
        impl Drop for Hydra {
            fn drop(&mut self) {
                panic_any(Hydra);
            }
        }
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        reactor.call_later(Duration::ZERO, |_| panic_any(Hydra));
        reactor.call_later(Duration::ZERO, log.note("the next call"));
        reactor.call_later(Duration::from_millis(1), stop);
        run(&reactor);
        log.expect(&["the next call"]);
    }

    fn a_panic_in_stop_factory_fails_the_deferred_of_its_port(subject: &Subject) {
        // IListeningPort.stopListening: the Deferred fails when doStop raises.
        let reactor = subject.plain_reactor();
        let port = subject.listen(&reactor, TrappedFactory::new("stop_factory"));
        let stopped = port.stop_listening();
        settle(&reactor);
        let error = stopped.try_result().unwrap().unwrap_err().trap::<Error>().unwrap();
        assert_eq!(error.to_string(), "stop_factory panicked: a bug in stop_factory");
    }

    fn a_panic_in_a_call_for_a_connection_closes_only_it(subject: &Subject) {
        // The provider may be user code. The reason names the provider and the call.
        for call in ["receive", "send", "send_slice", "shutdown_write", "set_reading"] {
            let (reactor, fuse) = subject.fused();
            let lines = logged(|| {
                let bystander = Bystander::new(subject, &reactor);
                let reasons = victim(subject, &reactor, &fuse, call).entries();
                let expected = format!("{}::{call} panicked: a bug in {call}", reactor.name());
                assert_eq!(reasons.iter().filter(|reason| **reason == expected).count(), 1, "{reasons:?}");
                assert_eq!(reasons.len(), 2, "the other end is closed: {reasons:?}");
                bystander.leave_after_an_answer(&reactor, call);
            });
            assert_located(&lines, call);
        }
    }

    fn a_panic_in_a_redelivery_closes_only_its_connection(subject: &Subject) {
        // The redelivery is a delayed call. Its guard must not hide which connection the provider was called for.
        let ((reactor, fuse), log) = (subject.fused(), Log::new());
        let lines = logged(|| {
            let bystander = Bystander::new(subject, &reactor);
            let (lit, lost) = (fuse.clone(), log.clone());
            let server = Script::new()
                .on_data(move |transport, data| match data {
                    b"again" => {
                        lit.light("send", 1);
                        transport.write(b"an answer");
                    }
                    _ => transport.unread(b"again"),
                })
                .on_lost(move |_, reason| lost.add(reason_name(reason)));
            let port = subject.join(&reactor, &server, &Script::new().on_made(|transport| transport.write(b"x")));
            iterate_until(&reactor, || !log.entries().is_empty());
            port.stop_listening();
            bystander.leave_after_an_answer(&reactor, "send");
        });
        log.expect(&["Panicked"]);
        assert_located(&lines, "send");
    }

    fn a_panic_at_the_end_of_a_run_leaves_no_source(subject: &Subject) {
        // The connection that sends its last bytes fails. The sources behind it are closed, and the reactor can run
        // again.
        let ((reactor, fuse), log) = (subject.fused(), Log::new());
        let (clients, listed) = (Transports::new(), Log::new());
        let client = Script::logged(&log, "client").listed_in(&clients);
        let port = subject.listen(&reactor, Script::new().factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, client.factory());
        }
        iterate_until(&reactor, || clients.all().len() == 2);
        let (lit, ended) = (fuse.clone(), listed.clone());
        reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| ended.add("after shutdown"));
        reactor.call_when_running(move |reactor| {
            reactor.call_later(Duration::ZERO, move |reactor| {
                clients.all().iter().for_each(|client| client.write(b"farewell"));
                lit.light("send", 1);
                stop(reactor);
            });
        });
        let lines = logged(|| run(&reactor));
        assert_located(&lines, "send");
        assert_eq!(log.count("client lost Panicked"), 1, "{:?}", log.entries());
        assert_eq!(log.count("client lost ConnectionLost"), 1, "{:?}", log.entries());
        assert_eq!(reactor.source_count(), 0);
        listed.expect(&["after shutdown"]);
        reactor.call_when_running(stop);
        run(&reactor);
    }

    fn a_panic_instead_of_a_part_follows_the_policy(subject: &Subject) {
        // Not Error::Unsupported: the provider has streams.
        let (reactor, fuse) = subject.fused();
        reactor.set_panic_policy(PanicPolicy::Stop);
        reactor.call_later(Duration::ZERO, move |reactor| {
            fuse.light("streams", 1);
            let error = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap_err();
            assert!(matches!(error, Error::Panicked(..)), "{error}");
        });
        let error = reactor.run_with(quiet()).unwrap_err();
        assert!(error.to_string().ends_with("::streams panicked: a bug in streams"), "{error}");
    }

    fn a_panic_in_a_call_that_closes_is_only_logged(subject: &Subject) {
        for call in ["close", "abort"] {
            let (reactor, fuse) = subject.fused();
            let lines = logged(|| {
                let bystander = Bystander::new(subject, &reactor);
                assert_eq!(victim(subject, &reactor, &fuse, call).entries().len(), 2);
                bystander.leave_after_an_answer(&reactor, call);
            });
            assert_located(&lines, call);
        }
    }

    fn a_panic_in_accept_leaves_the_port_listening(subject: &Subject) {
        // As after an error of accept: the port accepts again after a while.
        struct Counted(Script, Log);
        impl Factory for Counted {
            fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
                self.1.add("accepted");
                Some(Box::new(self.0.clone()))
            }
            fn accept_failed(&self, reason: &Error) {
                self.1.add(reason_name(reason));
            }
        }
        let ((reactor, fuse), log) = (subject.fused(), Log::new());
        let lines = logged(|| {
            let bystander = Bystander::new(subject, &reactor);
            let port = subject.listen(&reactor, Counted(Script::new(), log.clone()));
            fuse.light("accept", 1);
            subject.connect(&reactor, &port, Script::new().on_made(Transport::lose_connection).factory());
            iterate_until(&reactor, || log.entries().len() == 2);
            port.stop_listening();
            bystander.leave_after_an_answer(&reactor, "accept");
        });
        log.expect(&["Panicked", "accepted"]);
        assert_located(&lines, "accept");
    }

    fn a_panic_in_a_connection_attempt_fails_the_attempt(subject: &Subject) {
        for call in ["connect", "finish_connect"] {
            let ((reactor, fuse), log) = (subject.fused(), Log::new());
            let lines = logged(|| {
                let bystander = Bystander::new(subject, &reactor);
                let port = subject.listen(&reactor, Script::new().factory());
                fuse.light(call, 1);
                subject.connect(&reactor, &port, LoggingFactory::new(&log, Script::new()));
                iterate_until(&reactor, || log.contains("failed Panicked"));
                port.stop_listening();
                bystander.leave_after_an_answer(&reactor, call);
            });
            assert!(log.contains("failed Panicked"), "{:?}", log.entries());
            assert_located(&lines, call);
        }
    }

    fn a_panic_in_listen_is_an_error_of_its_caller(subject: &Subject) {
        let ((reactor, fuse), host) = (subject.fused(), "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
        fuse.light("listen", 1);
        let error = subject.listen_at(&reactor, &host.into(), Script::new().factory()).unwrap_err();
        assert!(matches!(error, Error::Panicked(..)), "{error}");
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_panic_in_wait_does_not_stop_the_loop(subject: &Subject) {
        let ((reactor, fuse), log) = (subject.fused(), Log::new());
        let lines = logged(|| {
            reactor.call_later(Duration::ZERO, move |_| fuse.light("wait", 2));
            let after = log.clone();
            after_some_turns(&reactor, move |reactor| {
                after.add("alive");
                stop(reactor);
            });
            run(&reactor);
        });
        log.expect(&["alive"]);
        assert_located(&lines, "wait");
    }

    fn a_wait_that_always_panics_stops_the_run_with_an_error(subject: &Subject) {
        // A wait that fails again and again must not make the loop spin.
        let (reactor, fuse) = subject.fused();
        reactor.call_later(Duration::ZERO, move |reactor| {
            fuse.light("wait", u32::MAX);
            // A host loop does not wait in the provider without a reason.
            reactor.call_later(Duration::ZERO, |_| {});
        });
        let error = reactor.run_with(quiet()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}::wait panicked: a bug in wait", reactor.name()));
        assert!(!reactor.is_started());
    }

    fn a_panic_of_the_provider_follows_the_policy(subject: &Subject) {
        // PanicPolicy::Stop, for a panic outside of callbacks.
        let (reactor, fuse) = subject.fused();
        reactor.set_panic_policy(PanicPolicy::Stop);
        reactor.call_later(Duration::ZERO, move |reactor| {
            fuse.light("listen", 1);
            reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap_err();
        });
        let error = reactor.run_with(quiet()).unwrap_err();
        assert!(error.to_string().ends_with("::listen panicked: a bug in listen"), "{error}");
    }

    fn a_panic_can_continue_in_the_caller_of_run(subject: &Subject) {
        // PanicPolicy::Resume: a failed assertion in a callback fails the test that runs the loop.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        reactor.set_panic_policy(PanicPolicy::Resume);
        reactor.call_later(Duration::ZERO, |_| panic!("the first of them"));
        reactor.call_later(Duration::ZERO, log.note("the rest of the turn"));
        let panic = catch(|| reactor.run_with(quiet())).unwrap_err();
        assert_eq!(panic.message(), "the first of them");
        log.expect(&["the rest of the turn"]);
        reactor.call_when_running(stop);
        run(&reactor);
    }
}
