//! Effects of a callback on its own connection, on other connections and on the loop, and effects of a panic in it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Protocol, Reactor, Transport};

use crate::links::{Transports, assert_same_bytes, noise};
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{run_and_expect, run_until, when};
use crate::{Subject, run, specifications};

/// Runs a server that panics in one of its callbacks, and a second connection that must survive. Returns the reasons
/// why the server's connection was lost.
fn why_it_ended(subject: &Subject, server: Script, client: Script) -> Vec<String> {
    let (reactor, reasons) = (subject.plain_reactor(), Log::new());
    let (told, ended) = (reasons.clone(), reasons.clone());
    let server = server.before_lost(move |_, reason| told.add(reason_name(reason)));
    subject.join(&reactor, &server, &client);
    let survivor = Script::new()
        .on_made(move |transport| {
            let (later, ended) = (transport.clone(), ended.clone());
            when(&transport.reactor(), move || !ended.entries().is_empty(), move |_| later.write(b"alive?"));
        })
        .on_data(|transport, _| stop(&transport.reactor()));
    subject.join(&reactor, &Script::echo(), &survivor);
    run(&reactor);
    assert_eq!(survivor.received(), b"alive?");
    reasons.entries()
}

/// Returns a client that writes a byte, then half-closes.
fn talks_and_half_closes() -> Script {
    Script::new().on_made(|transport| {
        transport.write(b"x");
        transport.lose_write_connection();
    })
}

/// A client factory that panics in the chosen callbacks.
struct Panicking {
    log: Log,
    started: bool,
    failed: bool,
    lost: bool,
    build: bool,
}

impl Panicking {
    fn new(log: &Log) -> Panicking {
        Panicking { log: log.clone(), started: false, failed: false, lost: false, build: false }
    }
}

impl Factory for Panicking {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.log.add("build");
        assert!(!self.build, "on purpose");
        Some(Box::new(Script::new().on_made(Transport::lose_connection)))
    }

    fn stop_factory(&self) {
        self.log.add("stop factory");
    }
}

impl ClientFactory for Panicking {
    fn started_connecting(&self, _connector: &Connector) {
        self.log.add("started");
        assert!(!self.started, "on purpose");
    }

    fn client_connection_failed(&self, _connector: &Connector, _reason: &Error) {
        self.log.add("failed");
        assert!(!self.failed, "on purpose");
    }

    fn client_connection_lost(&self, _connector: &Connector, _reason: &Error) {
        self.log.add("lost");
        assert!(!self.lost, "on purpose");
    }
}

specifications! {
    callbacks;

    fn a_callback_may_abort_connections_with_pending_events(subject: &Subject) {
        // IReactorFDSet: a source that an earlier callback of the same batch removed gets no event.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, heard) = (all.clone(), log.clone());
        let server = Script::new()
            .listed_in(&all)
            .on_data(move |transport, _| {
                heard.add("data");
                others.others(transport).iter().for_each(Transport::abort_connection);
            })
            .on_lost({
                let lost = log.clone();
                move |_, reason| lost.add(reason_name(reason))
            });
        subject.ready_together(&reactor, 3, &server);
        let seen = log.clone();
        when(&reactor, move || seen.entries().len() >= 3, Reactor::crash);
        run(&reactor);
        assert_eq!(log.count("data"), 1, "an aborted connection received: {:?}", log.entries());
        assert_eq!(log.count("ConnectionAborted"), 2);
    }

    fn a_callback_may_lose_connections_with_pending_events(subject: &Subject) {
        // ITransport.loseConnection stops reading at once, also when an event is already pending.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, heard) = (all.clone(), log.clone());
        let server = Script::new().listed_in(&all).on_data(move |transport, _| {
            heard.add("data");
            others.others(transport).iter().for_each(Transport::lose_connection);
        });
        subject.ready_together(&reactor, 3, &server);
        run_and_expect(&reactor, &log, &["data"]);
    }

    fn a_callback_may_pause_connections_with_pending_events(subject: &Subject) {
        // IPushProducer.pauseProducing applies at once, also when an event is already pending.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, heard) = (all.clone(), log.clone());
        let server = Script::new().listed_in(&all).on_data(move |transport, _| {
            heard.add("data");
            others.others(transport).iter().for_each(Transport::pause_producing);
        });
        subject.ready_together(&reactor, 3, &server);
        run_and_expect(&reactor, &log, &["data"]);
    }

    fn resuming_delivers_data_that_arrived_while_paused(subject: &Subject) {
        // IPushProducer.resumeProducing. An edge-triggered provider may have reported the data once, before the pause.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, heard) = (all.clone(), log.clone());
        let server = Script::new().listed_in(&all).on_data(move |transport, _| {
            heard.add("data");
            if heard.count("data") == 1 {
                let others = others.others(transport);
                others.iter().for_each(Transport::pause_producing);
                let resume = move |_: &Reactor| others.iter().for_each(Transport::resume_producing);
                transport.reactor().call_later(Duration::ZERO, resume);
            }
        });
        subject.ready_together(&reactor, 3, &server);
        run_and_expect(&reactor, &log, &["data", "data", "data"]);
    }

    fn a_callback_may_abort_its_own_connection(subject: &Subject) {
        // ITCPTransport.abortConnection: no later event of the same batch is delivered.
        let log = Log::new();
        let server = Script::logged(&log, "server").on_data(|transport, _| transport.abort_connection());
        let client = Script::new().on_made(|transport| {
            transport.write(&[b'x'; 3]);
            transport.lose_write_connection();
        });
        let reactor = subject.reactor();
        subject.join(&reactor, &server.stop_when_lost(), &client);
        run(&reactor);
        log.expect(&["server made", "server data xxx", "server lost ConnectionAborted"]);
    }

    fn a_new_source_gets_no_stale_events_of_a_reused_key(subject: &Subject) {
        // Ports that listen in the batch in which connections end may get the keys of those connections.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, subject_again, built) = (all.clone(), *subject, log.clone());
        let server = Script::new().listed_in(&all).on_data(move |transport, _| {
            built.add("data");
            let reactor = transport.reactor();
            for other in others.others(transport) {
                other.abort_connection();
            }
            // The ports listen a turn later, because the keys of aborted connections are free by the end of the turn.
            reactor.call_later(Duration::ZERO, {
                let built = built.clone();
                move |reactor| {
                    for _ in 0..4 {
                        let built = built.clone();
                        subject_again.listen(reactor, move || {
                            built.add("built");
                            Script::new()
                        });
                    }
                }
            });
        });
        subject.ready_together(&reactor, 4, &server);
        run_and_expect(&reactor, &log, &["data"]);
    }

    fn callbacks_open_connections_several_levels_deep(subject: &Subject) {
        // A callback may register and remove sources while a batch is delivered.
        fn deeper(subject: Subject, reactor: &Reactor, level: usize, log: &Log) {
            let heard = log.clone();
            let server = Script::echo().on_lost(move |transport, _| {
                heard.add(format!("lost {level}"));
                match level {
                    0 => stop(&transport.reactor()),
                    _ => deeper(subject, &transport.reactor(), level - 1, &heard),
                }
            });
            let (port, connections) = (subject.listen(reactor, server.factory()), Transports::new());
            let client = Script::new()
                .listed_in(&connections)
                .on_made(|transport| transport.write(b"x"))
                .on_data({
                    let port = port.clone();
                    move |_, _| {
                        port.stop_listening();
                        connections.all().iter().for_each(Transport::lose_connection);
                    }
                });
            subject.connect(reactor, &port, client.factory());
        }
        let (reactor, log) = (subject.reactor(), Log::new());
        deeper(*subject, &reactor, 4, &log);
        run(&reactor);
        log.expect(&["lost 4", "lost 3", "lost 2", "lost 1", "lost 0"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn no_callback_of_another_connection_runs_inside_a_callback(subject: &Subject) {
        // Effects on another connection are delivered after the running callback has returned.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (others, order) = (all.clone(), log.clone());
        let lost = log.clone();
        let server = Script::new()
            .listed_in(&all)
            .on_data(move |transport, _| {
                order.add("in");
                for other in others.others(transport) {
                    other.write(b"bye");
                    other.lose_connection();
                }
                order.add("out");
            })
            .on_lost(move |_, _| lost.add("lost"));
        subject.ready_together(&reactor, 2, &server);
        let seen = log.clone();
        run_until(&reactor, move || seen.contains("lost"));
        assert_eq!(log.entries()[..3], ["in", "out", "lost"]);
    }

    fn every_callback_may_stop_the_loop(subject: &Subject) {
        // IReactorCore.stop: connectionLost is still called.
        let stops = |transport: &Transport| stop(&transport.reactor());
        let scripts = [
            Script::new().on_made(stops),
            Script::new().on_data(move |transport, _| stops(transport)),
            Script::new().on_read_lost(stops),
            Script::new().on_made(Transport::lose_write_connection).on_write_lost(stops),
            Script::new().on_made(Transport::lose_connection).on_lost(move |transport, _| stops(transport)),
        ];
        for script in scripts {
            let (reactor, log) = (subject.reactor(), Log::new());
            let told = log.clone();
            let server = script.on_lost(move |_, _| told.add("lost"));
            subject.join(&reactor, &server, &talks_and_half_closes());
            run(&reactor);
            log.expect(&["lost"]);
        }
    }

    fn a_protocol_can_be_replaced_from_its_own_callback(subject: &Subject) {
        // ITransport users such as startTLS and conch set `.protocol`. The new protocol gets no connection_made.
        let log = Log::new();
        let second = log.clone();
        let server = Script::logged(&log, "first").on_data(move |transport, _| {
            transport.switch_protocol(Box::new(Script::logged(&second, "second")));
            transport.write(b"more");
        });
        let client = Script::new().on_made(|transport| transport.write(b"a")).on_data(|transport, _| {
            transport.write(b"b");
            transport.lose_connection();
        });
        let reactor = subject.reactor();
        subject.join(&reactor, &server, &client);
        let expected = ["first made", "first data a", "second data b", "second read lost", "second lost ConnectionDone"];
        run_and_expect(&reactor, &log, &expected);
    }

    fn a_switch_between_two_deliveries_loses_no_byte(subject: &Subject) {
        // Each byte goes to exactly one of the two protocols, however the stream is divided into deliveries.
        let (sent, reactor) = (noise(1_000_000, 1), subject.reactor());
        let second = Script::new().stop_when_lost();
        let successor = second.clone();
        let first = Script::new();
        let server = first.clone().on_data(move |transport, _| transport.switch_protocol(Box::new(successor.clone())));
        subject.join(&reactor, &server, &Script::sends(sent.clone()));
        run(&reactor);
        assert!(!first.received().is_empty());
        assert_same_bytes(&[first.received(), second.received()].concat(), &sent);
    }

    fn a_protocol_can_be_replaced_from_outside_its_callbacks(subject: &Subject) {
        // Transport::switch_protocol
        let log = Log::new();
        let (second, reactor) = (log.clone(), subject.reactor());
        let server = Script::logged(&log, "first").on_made(move |transport| {
            let (later, second) = (transport.clone(), second.clone());
            transport.reactor().call_later(Duration::ZERO, move |_| {
                later.switch_protocol(Box::new(Script::logged(&second, "second").stop_when_lost()));
                later.write(b"now");
            });
        });
        let client = Script::new().on_data(|transport, _| {
            transport.write(b"x");
            transport.lose_connection();
        });
        subject.join(&reactor, &server, &client);
        run(&reactor);
        log.expect(&["first made", "second data x", "second read lost", "second lost ConnectionDone"]);
    }

    fn a_protocol_replaced_in_connection_lost_has_no_successor(subject: &Subject) {
        // IProtocol.connectionLost is called once.
        let log = Log::new();
        let second = log.clone();
        let client = Script::logged(&log, "first").on_made(Transport::lose_connection).on_lost(move |transport, _| {
            transport.switch_protocol(Box::new(Script::logged(&second, "second")));
        });
        subject.converse(&Script::new(), &client);
        log.expect(&["first made", "first lost ConnectionDone"]);
    }

    fn a_panic_in_connection_made_closes_only_that_connection(subject: &Subject) {
        // IProtocol.connectionMade: an exception is logged and becomes the reason of connectionLost.
        let server = Script::new().on_made(|_| panic!("on purpose"));
        assert_eq!(why_it_ended(subject, server, Script::new()), ["Panicked"]);
    }

    fn a_panic_in_data_received_closes_only_that_connection(subject: &Subject) {
        // IProtocol.dataReceived: an exception is logged and becomes the reason of connectionLost.
        let server = Script::new().on_data(|_, _| panic!("on purpose"));
        assert_eq!(why_it_ended(subject, server, talks_and_half_closes()), ["Panicked"]);
    }

    fn a_panic_in_read_connection_lost_closes_only_that_connection(subject: &Subject) {
        // IHalfCloseableProtocol.readConnectionLost: an exception becomes the reason of connectionLost.
        let server = Script::new().on_read_lost(|_| panic!("on purpose"));
        assert_eq!(why_it_ended(subject, server, talks_and_half_closes()), ["Panicked"]);
    }

    fn a_panic_in_write_connection_lost_closes_only_that_connection(subject: &Subject) {
        // IHalfCloseableProtocol.writeConnectionLost: an exception becomes the reason of connectionLost.
        let server = Script::new().on_made(Transport::lose_write_connection).on_write_lost(|_| panic!("on purpose"));
        assert_eq!(why_it_ended(subject, server, Script::new().on_read_lost(|_| {})), ["Panicked"]);
    }

    fn a_panic_in_connection_lost_is_only_logged(subject: &Subject) {
        // IProtocol.connectionLost: an exception is logged, and the loop continues.
        let server = Script::new().on_made(Transport::lose_connection).on_lost(|_, _| panic!("on purpose"));
        assert_eq!(why_it_ended(subject, server, Script::new()), ["ConnectionDone"]);
    }

    fn the_reason_of_a_panic_names_the_protocol(subject: &Subject) {
        // ILoggingContext.logPrefix: Twisted logs an exception under the protocol's prefix.
        struct Named(Rc<RefCell<Option<Error>>>);
        impl Protocol for Named {
            fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
                panic!("cannot parse {}", data.escape_ascii());
            }
            fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
                *self.0.borrow_mut() = Some(reason.clone());
                stop(&transport.reactor());
            }
            fn log_prefix(&self) -> &'static str {
                "named"
            }
        }
        let (reactor, reason) = (subject.plain_reactor(), Rc::new(RefCell::new(None)));
        let told = reason.clone();
        let port = subject.listen(&reactor, move || Named(told.clone()));
        subject.connect(&reactor, &port, talks_and_half_closes().factory());
        run(&reactor);
        let reason = reason.borrow().clone().unwrap();
        assert_eq!(reason.to_string(), "named panicked: cannot parse x");
    }

    fn data_written_before_a_panic_reaches_other_connections(subject: &Subject) {
        // A panic in one callback must not drop the rest of the batch.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let heard = log.clone();
        let server = Script::new().on_data(move |_, _| {
            heard.add("data");
            panic!("on purpose");
        });
        subject.ready_together(&reactor, 5, &server);
        run_and_expect(&reactor, &log, &["data"; 5]);
    }

    fn a_panic_in_build_protocol_leaves_the_port_listening(subject: &Subject) {
        // IProtocolFactory.buildProtocol. Twisted abandons the rest of its accept batch; here only one connection
        // closes.
        let (reactor, builds) = (subject.plain_reactor(), Rc::new(Cell::new(0)));
        let built = builds.clone();
        let port = subject.listen(&reactor, move || {
            built.set(built.get() + 1);
            assert!(built.get() != 1, "on purpose");
            Script::echo()
        });
        let ends = Log::new();
        let ended = ends.clone();
        let client = Script::new()
            .on_made(|transport| transport.write(b"x"))
            .on_data(|transport, _| stop(&transport.reactor()))
            .on_lost(move |_, _| ended.add("lost"));
        for _ in 0..2 {
            subject.connect(&reactor, &port, client.factory());
        }
        run(&reactor);
        assert_eq!(builds.get(), 2);
        assert_eq!(client.received(), b"x");
    }

    fn a_panic_in_a_client_factory_leaves_its_connection_alone(subject: &Subject) {
        // ReactorBase.runUntilCurrent: an exception is logged and never stops the loop.
        let log = Log::new();
        let factory = Panicking { started: true, lost: true, ..Panicking::new(&log) };
        let reactor = subject.plain_reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        subject.connect(&reactor, &port, factory);
        run_and_expect(&reactor, &log, &["started", "build", "lost", "stop factory"]);
    }

    fn a_panic_in_client_connection_failed_is_only_logged(subject: &Subject) {
        // ReactorBase.runUntilCurrent: an exception is logged and never stops the loop.
        let log = Log::new();
        let reactor = subject.plain_reactor();
        let connector = subject.connect_to_nowhere(&reactor, Panicking { failed: true, ..Panicking::new(&log) });
        run_and_expect(&reactor, &log, &["started", "failed", "stop factory"]);
        assert_eq!(connector.state(), ropewalk::ConnectorState::Disconnected);
    }

    fn a_panic_in_a_client_build_protocol_closes_the_connection(subject: &Subject) {
        // IProtocolFactory.buildProtocol: the connection closes as if the factory had built no protocol.
        let log = Log::new();
        let reactor = subject.plain_reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        subject.connect(&reactor, &port, Panicking { build: true, ..Panicking::new(&log) });
        run_and_expect(&reactor, &log, &["started", "build", "lost", "stop factory"]);
    }

    fn a_panic_in_a_protocols_drop_is_contained(subject: &Subject) {
        // The reactor catches a panic in any user code, destructors included.
        struct Fuse(Log);
        impl Protocol for Fuse {
            fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
        }
        impl Drop for Fuse {
            fn drop(&mut self) {
                self.0.add("dropped");
                assert!(std::thread::panicking(), "on purpose");
            }
        }
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let dropped = log.clone();
        let port = subject.listen(&reactor, move || Fuse(dropped.clone()));
        let client = Script::new().on_made(Transport::lose_connection);
        subject.connect(&reactor, &port, client.factory());
        run_and_expect(&reactor, &log, &["dropped"]);
    }
}
