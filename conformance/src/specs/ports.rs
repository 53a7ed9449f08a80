//! IListeningPort, and the server side's factory, over TCP and UNIX sockets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, Error, Factory, Port, Protocol, Reactor, Transport};

use crate::links::{Countdown, Transports};
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::waiting::{after_some_turns, iterate_until, run_and_expect, run_until};
use crate::{Subject, run, specifications};

/// Runs until `port` has stopped.
fn run_until_stopped(reactor: &Reactor, port: &Port) {
    let stopped = port.clone();
    run_until(reactor, move || stopped.host().is_err());
}

/// Runs until both clients have their answers.
fn run_until_both_are_answered(reactor: &Reactor, log: &Log) {
    let seen = log.clone();
    run_until(reactor, move || seen.contains("first answered") && seen.contains("second answered"));
}

/// A client that asks for an echo, and logs under `name` whether the echo came before the connection ended.
fn asks(log: &Log, name: &'static str) -> Script {
    let (answered, lost) = (log.clone(), log.clone());
    Script::new()
        .on_made(|transport| transport.write(b"x"))
        .on_data(move |_, _| answered.add(format!("{name} answered")))
        .on_lost(move |_, reason| lost.add(format!("{name} lost {}", reason_name(reason))))
}

/// A factory that acts on its own port before it builds a protocol.
struct Acting {
    act: Rc<dyn Fn()>,
    script: Script,
}

impl Factory for Acting {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        (self.act)();
        Some(Box::new(self.script.clone()))
    }
}

/// A port whose factory acts on the port.
fn acting_port(subject: &Subject, reactor: &Reactor, script: &Script, act: impl Fn(&Port) + 'static) -> Port {
    let itself = Rc::new(RefCell::new(None::<Port>));
    let found = itself.clone();
    let act = Rc::new(move || {
        // The borrow is temporary, because the port's methods may call this factory again.
        let port = found.borrow().clone();
        port.iter().for_each(&act);
    });
    let port = subject.listen(reactor, Acting { act, script: script.clone() });
    *itself.borrow_mut() = Some(port.clone());
    port
}

specifications! {
    ports;

    fn a_port_knows_its_address_while_it_listens(subject: &Subject) {
        // IListeningPort.getHost
        let reactor = subject.reactor();
        let ports: Vec<_> = (0..2).map(|_| subject.listen(&reactor, Script::new().factory())).collect();
        assert!(ports.iter().all(Port::is_listening));
        assert_ne!(ports[0].host().unwrap(), ports[1].host().unwrap());
        ports[0].stop_listening();
        assert!(!ports[0].is_listening());
        run_until_stopped(&reactor, &ports[0]);
        assert!(matches!(ports[0].host(), Err(Error::Closed)));
    }

    fn listening_on_a_used_address_is_an_error_that_names_it(subject: &Subject) {
        // CannotListenError(interface, port, socketError) is raised synchronously.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let host = port.host().unwrap();
        let factory = LoggingFactory::new(&log, Script::new());
        let error = subject.listen_at(&reactor, &host, factory).unwrap_err();
        assert!(matches!(&error, Error::CannotListen(address, _) if *address == host), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&host.to_string()) && text.contains("cannot listen on"), "{text}");
        assert!(std::error::Error::source(&error).is_some());
        log.expect(&[]);
        assert!(port.is_listening());
        assert_eq!(reactor.source_count(), 1);
    }

    fn the_factory_is_started_while_its_port_listens(subject: &Subject) {
        // Factory.doStart, doStop. The socket closes and doStop follows in a later turn, then the Deferred fires.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        log.expect(&["start factory"]);
        let fired = log.clone();
        port.stop_listening().add_callback(move |()| fired.add("fired"));
        log.expect(&["start factory"]);
        run_and_expect(&reactor, &log, &["start factory", "stop factory", "fired"]);
    }

    fn stopping_a_port_stops_accepting_at_once(subject: &Subject) {
        // IListeningPort.stopListening: the Deferred fires in a later turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        let (stopped, told) = (port.clone(), log.clone());
        // The client connects before the port is resumed, so that both events are pending together.
        let client = Script::new().on_made(move |_| {
            let (stopped, told) = (stopped.clone(), told.clone());
            stopped.stop_listening().add_callback(move |()| told.add("fired"));
            assert!(!stopped.is_listening());
        });
        port.pause_producing();
        subject.connect(&reactor, &port, client.factory());
        port.resume_producing();
        let seen = log.clone();
        run_until(&reactor, move || seen.contains("fired"));
        // The port may have accepted the connection before the client's callback stopped it, so "build" is optional.
        let entries: Vec<_> = log.entries().into_iter().filter(|entry| entry != "build").collect();
        assert_eq!(entries, ["start factory", "stop factory", "fired"]);
    }

    fn draining_a_port_accepts_the_queued_connections(subject: &Subject) {
        // Port::drain: a program that is replaced by its successor loses no queued connection.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        port.pause_producing();
        for name in ["first", "second"] {
            subject.connect(&reactor, &port, asks(&log, name).factory());
        }
        let (drained, looked) = (port.clone(), log.clone());
        after_some_turns(&reactor, move |_| {
            looked.expect(&["start factory"]);
            drained.resume_producing();
            let fired = looked.clone();
            drained.drain().add_callback(move |()| fired.add("fired"));
            assert!(!drained.is_listening());
        });
        run_until_both_are_answered(&reactor, &log);
        assert!(matches!(port.host(), Err(Error::Closed)));
        let entries = log.entries();
        assert_eq!(entries[..5], ["start factory", "build", "build", "stop factory", "fired"]);
        assert!(log.contains("first answered") && log.contains("second answered"));
    }

    fn a_drained_port_accepts_no_more_once_stopped_or_paused(subject: &Subject) {
        // IListeningPort.stopListening takes effect at once. A paused port accepts nothing.
        for act in [|port: &Port| drop(port.stop_listening()), Port::pause_producing] {
            let (reactor, log) = (subject.reactor(), Log::new());
            let noted = log.clone();
            let port = acting_port(subject, &reactor, &Script::echo(), move |port| {
                noted.add("build");
                act(port);
            });
            port.pause_producing();
            for _ in 0..2 {
                subject.connect(&reactor, &port, Script::new().factory());
            }
            let drained = port.clone();
            after_some_turns(&reactor, move |_| {
                drained.resume_producing();
                drained.drain();
            });
            run_and_expect(&reactor, &log, &["build"]);
        }
    }

    fn an_address_is_free_when_a_port_is_closed_now(subject: &Subject) {
        // Port::close_now: the program that calls it must not wait for a turn. Accepted connections stay open.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        let (clients, host) = (Transports::new(), port.host().unwrap());
        let client = asks(&log, "client").listed_in(&clients);
        subject.connect(&reactor, &port, client.factory());
        iterate_until(&reactor, || log.contains("client answered"));
        let fired = log.clone();
        port.close_now().unwrap().add_callback(move |()| fired.add("fired"));
        let successor = subject.listen_at(&reactor, &host, Script::echo().factory()).unwrap();
        assert!(!port.is_listening() && matches!(port.host(), Err(Error::Closed)));
        log.expect(&["start factory", "build", "client answered"]);
        clients.first().write(b"y");
        iterate_until(&reactor, || log.count("client answered") == 2);
        assert_eq!(log.entries()[3..], ["stop factory", "fired", "client answered"]);
        subject.connect(&reactor, &successor, asks(&log, "next").factory());
        iterate_until(&reactor, || log.contains("next answered"));
        assert!(log.contains("next answered"));
    }

    fn a_port_that_was_closed_now_can_listen_in_the_next_line(subject: &Subject) {
        // The factory has a user all the time, so it is started and stopped once.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        let stopped = port.stop_listening();
        let closed = [port.close_now().unwrap(), port.close_now().unwrap()];
        assert!(!stopped.is_done() && !closed[0].is_done());
        assert!(closed[1].is_done(), "the port does not listen any more");
        port.start_listening().unwrap();
        iterate_until(&reactor, || stopped.is_done());
        assert!(port.is_listening() && closed[0].is_done());
        log.expect(&["start factory"]);
        port.close_now().unwrap();
        reactor.settle().unwrap();
        log.expect(&["start factory", "stop factory"]);
    }

    fn closing_a_port_now_drops_the_queued_connections(subject: &Subject) {
        // They have not been accepted. The system ends them, as after stop_listening.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        port.pause_producing();
        let lost = log.clone();
        let client = Script::new().on_lost(move |_, _| lost.add("lost"));
        subject.connect(&reactor, &port, client.factory());
        let closed = port.clone();
        after_some_turns(&reactor, move |_| drop(closed.close_now().unwrap()));
        run_and_expect(&reactor, &log, &["start factory", "stop factory", "lost"]);
    }

    fn a_factory_can_close_its_port_now_while_it_builds(subject: &Subject) {
        // The connection that is being accepted is served, and the queued one is not accepted.
        let (reactor, log) = (subject.reactor(), Log::new());
        let noted = log.clone();
        let port = acting_port(subject, &reactor, &Script::echo(), move |port| {
            noted.add("build");
            let closed = noted.clone();
            port.close_now().unwrap().add_callback(move |()| closed.add("fired"));
        });
        port.pause_producing();
        for _ in 0..2 {
            subject.connect(&reactor, &port, Script::new().on_made(|transport| transport.write(b"x")).factory());
        }
        let resumed = port.clone();
        after_some_turns(&reactor, move |_| resumed.resume_producing());
        run_and_expect(&reactor, &log, &["build", "fired"]);
    }

    fn a_port_closed_now_in_the_last_turn_stops_its_factory(subject: &Subject) {
        // No turn follows, and the factory must not wait for the next run.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        reactor.call_later(Duration::ZERO, move |reactor| {
            port.close_now().unwrap();
            stop(reactor);
        });
        run(&reactor);
        log.expect(&["start factory", "stop factory"]);
    }

    fn a_port_cannot_be_closed_now_during_a_detached_wait(subject: &Subject) {
        // The provider is in another thread, so the socket cannot be closed before the call returns.
        let reactor = subject.reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        assert!(matches!(port.close_now(), Err(Error::Waiting)));
        assert!(port.is_listening());
        drop(wait);
        port.close_now().unwrap();
        assert!(!port.is_listening());
    }

    fn accepted_connections_outlive_their_port(subject: &Subject) {
        // IListeningPort.stopListening
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::echo().factory());
        let stopped = port.clone();
        let client = Script::new().on_made(|transport| transport.write(b"1")).on_data({
            let heard = log.clone();
            move |transport, data| {
                heard.add(data.escape_ascii().to_string());
                if data == b"2" {
                    return stop(&transport.reactor());
                }
                let later = transport.clone();
                stopped.stop_listening().add_callback(move |()| later.write(b"2"));
            }
        });
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        log.expect(&["1", "2"]);
    }

    fn each_stop_of_a_port_is_answered(subject: &Subject) {
        // IListeningPort.stopListening: "or None if not listening". The Deferred of a stopped port fires at once.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        for name in ["first", "second"] {
            let log = log.clone();
            port.stop_listening().add_callback(move |()| log.add(name));
        }
        run_and_expect(&reactor, &log, &["start factory", "stop factory", "first", "second"]);
        let last = log.clone();
        port.stop_listening().add_callback(move |()| last.add("at once"));
        assert_eq!(log.entries().last().unwrap(), "at once");
    }

    fn a_stopped_port_can_listen_again(subject: &Subject) {
        // IListeningPort.startListening
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        assert!(matches!(port.start_listening(), Err(Error::AlreadyListening)));
        let again = port.clone();
        port.stop_listening().add_callback(move |()| again.start_listening().unwrap());
        let seen = log.clone();
        run_until(&reactor, move || seen.entries().len() >= 3);
        // The end of the run has stopped the port once more.
        assert_eq!(log.entries(), ["start factory", "stop factory", "start factory", "stop factory"]);
        port.start_listening().unwrap();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        assert_eq!(client.received(), b"x");
    }

    fn a_port_can_listen_again_after_the_reactor_stopped(subject: &Subject) {
        // The rest of an earlier stop must not close the socket that the port has opened since.
        let reactor = subject.reactor();
        let port = subject.listen(&reactor, Script::echo().factory());
        let stopping = port.clone();
        reactor.call_later(Duration::ZERO, move |reactor| {
            stopping.stop_listening();
            stop(reactor);
        });
        run(&reactor);
        port.start_listening().unwrap();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        assert_eq!(client.received(), b"x");
    }

    fn a_stopping_port_keeps_its_address_until_it_has_stopped(subject: &Subject) {
        // IListeningPort.startListening
        let reactor = subject.reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        let host = port.host().unwrap();
        port.stop_listening();
        assert!(matches!(port.start_listening(), Err(Error::AlreadyListening)));
        assert_eq!(port.host().unwrap(), host);
        run_until_stopped(&reactor, &port);
        assert!(matches!(port.host(), Err(Error::Closed)));
    }

    fn an_address_is_free_again_when_the_deferred_fires(subject: &Subject) {
        // SO_REUSEADDR: connections in TIME_WAIT do not hold the address.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().on_made(Transport::lose_connection).factory());
        let (stopped, subject_again, done) = (port.clone(), *subject, log.clone());
        let client = Script::new().on_lost(move |transport, _| {
            let (reactor, host, done) = (transport.reactor(), stopped.host().unwrap(), done.clone());
            stopped.stop_listening().add_callback(move |()| {
                let other = subject_again.listen_at(&reactor, &host, Script::new().factory()).unwrap();
                assert_eq!(other.host().unwrap(), host);
                done.add("listens");
                stop(&reactor);
            });
        });
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        log.expect(&["listens"]);
    }

    fn a_paused_port_leaves_connections_in_the_queue(subject: &Subject) {
        // IPushProducer.pauseProducing of a port. The queued connections are accepted after resumeProducing.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        port.pause_producing();
        for name in ["first", "second"] {
            subject.connect(&reactor, &port, asks(&log, name).factory());
        }
        let (resumed, looked) = (port.clone(), log.clone());
        after_some_turns(&reactor, move |_| {
            looked.expect(&["start factory"]);
            resumed.resume_producing();
        });
        run_until_both_are_answered(&reactor, &log);
        assert_eq!(log.count("build"), 2);
        assert!(log.contains("first answered") && log.contains("second answered"));
    }

    fn a_port_that_is_toggled_constantly_accepts_every_connection(subject: &Subject) {
        // No connection is lost, whatever operation the system has in progress when the port is paused.
        fn toggle(reactor: &Reactor, port: Port, paused: bool) {
            if paused { port.resume_producing() } else { port.pause_producing() }
            reactor.call_later(Duration::from_micros(200), move |reactor| toggle(reactor, port, !paused));
        }
        // Clients connect one after the other in twenty rows, so at most twenty wait. A UNIX port whose queue is full
        // refuses clients.
        fn send(subject: Subject, reactor: &Reactor, port: &Port, left_in_row: usize, unanswered: &Countdown) {
            let (again, counted) = (port.clone(), unanswered.clone());
            let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
                let reactor = transport.reactor();
                counted.count(&reactor);
                if left_in_row > 1 {
                    send(subject, &reactor, &again, left_in_row - 1, &counted);
                }
            });
            drop(subject.connect(reactor, port, client.factory()));
        }
        let (reactor, unanswered) = (subject.reactor(), Countdown::new(200));
        let port = subject.listen(&reactor, Script::echo().factory());
        // Stops the reactor if a connection was lost: a lost connection would get no answer, and the test would not
        // end.
        reactor.call_later(Duration::from_secs(10), stop);
        toggle(&reactor, port.clone(), false);
        for _ in 0..20 {
            send(*subject, &reactor, &port, 10, &unanswered);
        }
        run(&reactor);
        assert_eq!(unanswered.left(), 0);
    }

    fn the_loop_sleeps_while_connections_wait_at_a_paused_port(subject: &Subject) {
        // Readiness of a paused port must not wake the loop.
        let reactor = subject.reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        port.pause_producing();
        subject.connect(&reactor, &port, Script::new().factory());
        reactor.call_later(Duration::from_millis(30), |reactor| drop(reactor.call_later(Duration::from_millis(30), stop)));
        let turns = crate::count_turns(&reactor);
        assert!(turns < 30, "{turns} turns in which there was nothing to do");
    }

    fn a_factory_that_builds_no_protocol_closes_the_connection(subject: &Subject) {
        // IProtocolFactory.buildProtocol: None closes the connection at once. The port continues to listen.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::refusing(&log));
        let ends = Countdown::new(2);
        let client = Script::logged(&log, "client").counted_by(&ends);
        for _ in 0..2 {
            subject.connect(&reactor, &port, client.factory());
        }
        run(&reactor);
        assert_eq!((log.count("build"), log.count("client lost ConnectionDone")), (2, 2), "{:?}", log.entries());
    }

    fn build_protocol_gets_the_address_of_the_peer(subject: &Subject) {
        // IProtocolFactory.buildProtocol(addr)
        struct Asking(Rc<RefCell<Option<Address>>>);
        impl Factory for Asking {
            fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
                *self.0.borrow_mut() = Some(peer.clone());
                let peer = peer.clone();
                Some(Box::new(Script::new().on_made(move |transport| assert_eq!(*transport.peer(), peer))))
            }
        }
        let (reactor, told) = (subject.reactor(), Rc::new(RefCell::new(None)));
        let port = subject.listen(&reactor, Asking(told.clone()));
        let hosts = Rc::new(RefCell::new(None));
        let host = hosts.clone();
        let client = Script::new().on_made(move |transport| *host.borrow_mut() = Some(transport.host().unwrap()));
        subject.connect(&reactor, &port, client.factory());
        let both = [told.clone(), hosts.clone()];
        run_until(&reactor, move || both.iter().all(|address| address.borrow().is_some()));
        assert_eq!(*told.borrow(), *hosts.borrow());
    }

    fn several_ports_can_share_one_factory(subject: &Subject) {
        // Factory.doStart counts its users.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory = Rc::new(LoggingFactory::new(&log, Script::new()));
        let ports: Vec<_> = (0..3).map(|_| subject.listen(&reactor, factory.clone())).collect();
        ports[0].stop_listening();
        ports[1].stop_listening();
        let last = ports[2].clone();
        let still = log.clone();
        after_some_turns(&reactor, move |_| {
            still.expect(&["start factory"]);
            last.stop_listening();
        });
        run_and_expect(&reactor, &log, &["start factory", "stop factory"]);
    }

    fn a_port_stopped_by_its_factory_accepts_no_more(subject: &Subject) {
        // IListeningPort.stopListening in buildProtocol, while several connections wait.
        let (reactor, log) = (subject.reactor(), Log::new());
        let built = log.clone();
        let port = acting_port(subject, &reactor, &Script::echo(), move |port| {
            built.add("build");
            let done = built.clone();
            port.stop_listening().add_callback(move |()| done.add("stopped"));
        });
        let clients = Log::new();
        port.pause_producing();
        for _ in 0..5 {
            subject.connect(&reactor, &port, asks(&clients, "client").factory());
        }
        after_some_turns(&reactor, move |_| port.resume_producing());
        let (seen, answers) = (log.clone(), clients.clone());
        run_until(&reactor, move || seen.contains("stopped") && answers.contains("client answered"));
        assert_eq!(clients.count("client answered"), 1, "{:?}", clients.entries());
        log.expect(&["build", "stopped"]);
    }

    fn a_port_paused_by_its_factory_accepts_no_more(subject: &Subject) {
        // IPushProducer.pauseProducing in buildProtocol, while several connections wait.
        let (reactor, builds) = (subject.reactor(), Rc::new(Cell::new(0)));
        let count = builds.clone();
        let port = acting_port(subject, &reactor, &Script::echo(), move |port| {
            count.set(count.get() + 1);
            port.pause_producing();
        });
        for _ in 0..5 {
            subject.connect(&reactor, &port, Script::new().factory());
        }
        let seen = builds.clone();
        run_until(&reactor, move || seen.get() > 0);
        assert_eq!(builds.get(), 1);
    }

    fn a_crowd_is_accepted_completely(subject: &Subject) {
        // A port accepts 64 connections in each turn. The others are accepted in later turns.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::echo()));
        let answered = Countdown::new(100);
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
            answered.count(&transport.reactor());
        });
        port.pause_producing();
        for _ in 0..100 {
            subject.connect(&reactor, &port, client.factory());
        }
        after_some_turns(&reactor, move |_| port.resume_producing());
        run(&reactor);
        assert_eq!(log.count("build"), 100);
        assert_eq!(client.received().len(), 100);
    }

    fn a_port_without_a_handle_continues_to_listen(subject: &Subject) {
        // Dropping the handle of a port does not stop the port.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::echo().factory());
        let client = asks(&log, "client").on_data(|transport, _| stop(&transport.reactor()));
        let connector = subject.connect(&reactor, &port, client.factory());
        drop((port, connector));
        run(&reactor);
        assert!(log.contains("client answered"));
    }

    fn a_reactor_that_stops_closes_its_ports(subject: &Subject) {
        // ReactorBase.disconnectAll closes ports as well.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, LoggingFactory::new(&log, Script::new()));
        let host = port.host().unwrap();
        reactor.call_when_running(stop);
        run(&reactor);
        assert!(!port.is_listening());
        log.expect(&["start factory", "stop factory"]);
        subject.listen_at(&reactor, &host, Script::new().factory()).unwrap();
    }

    fn stopping_a_port_completes_although_the_reactor_stops(subject: &Subject) {
        // IListeningPort.stopListening: the Deferred always fires.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let fired = log.clone();
        reactor.call_when_running(move |reactor| {
            stop(reactor);
            port.stop_listening().add_callback(move |()| fired.add("fired"));
        });
        run(&reactor);
        log.expect(&["fired"]);
    }

    fn a_port_is_harmless_after_its_reactor_is_gone(subject: &Subject) {
        // A stale handle's methods are no-ops or return Closed.
        let reactor = subject.reactor();
        let port = subject.listen(&reactor, Script::new().factory());
        drop(reactor);
        assert!(!port.is_listening());
        port.pause_producing();
        port.resume_producing();
        let log = Log::new();
        let fired = log.clone();
        port.stop_listening().add_callback(move |()| fired.add("fired"));
        log.expect(&["fired"]);
        assert!(matches!(port.start_listening(), Err(Error::Closed)));
    }
}
