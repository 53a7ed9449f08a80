//! IConnector and the client side's factory, over TCP and UNIX sockets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::interfaces::resolver::HostnameResolver;
use ropewalk::proto::Resolver;
use ropewalk::{Connector, ConnectorState, Deferred, Error, Phase, Reactor, Transport};

use crate::links::{Countdown, Transports};
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::after_some_turns;
use crate::{Subject, run, specifications};

fn reactor_of(connector: &Connector) -> Reactor {
    connector.try_reactor().expect("it is called by its reactor")
}

/// Never answers.
#[derive(Default)]
struct Silent(RefCell<Vec<Resolver<Vec<SocketAddr>>>>);

impl HostnameResolver for Silent {
    fn resolve_host_name(&self, _reactor: &Reactor, _host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
        let (deferred, resolver) = Deferred::new();
        self.0.borrow_mut().push(resolver);
        deferred
    }
}

/// The log entry of a refused attempt.
fn refused(subject: &Subject) -> &'static str {
    // connect(2) reports ENOENT for a path without a file, not ECONNREFUSED: unix(7).
    if subject.over_unix { "failed Connect" } else { "failed ConnectionRefused" }
}

/// Stops when the connector has failed or its connection has ended.
fn stops(connector: &Connector) {
    stop(&reactor_of(connector));
}

specifications! {
    connectors;

    fn connecting_returns_before_the_attempt_has_an_outcome(subject: &Subject) {
        // IReactorTCP.connectTCP, as observed: doStart, startedConnecting, return, clientConnectionFailed, doStop.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory = LoggingFactory::new(&log, Script::new()).after(stops);
        subject.connect_to_nowhere(&reactor, factory);
        log.add("returned");
        run(&reactor);
        log.expect(&["start factory", "started connecting", "returned", refused(subject), "stop factory"]);
    }

    fn a_client_factory_sees_the_whole_life_of_a_connection(subject: &Subject) {
        // IConnector, ClientFactory
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client").on_made(Transport::lose_connection);
        let port = subject.listen(&reactor, Script::new().factory());
        subject.connect(&reactor, &port, LoggingFactory::new(&log, client).after(stops));
        run(&reactor);
        log.expect(&[
            "start factory",
            "started connecting",
            "build",
            "client made",
            "client lost ConnectionDone",
            "connection lost ConnectionDone",
            "stop factory",
        ]);
    }

    fn a_connector_reports_its_state_in_each_callback(subject: &Subject) {
        // IConnector: the state and the transport that the factory's callbacks see.
        let (reactor, states) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        let (seen, ended) = (states.clone(), states.clone());
        let client = Script::new()
            .on_made(move |transport| {
                let connector = transport.connector().expect("a client has one");
                assert_eq!(connector.transport().as_ref(), Some(transport));
                seen.borrow_mut().push(connector.state());
                assert!(matches!(connector.connect(), Err(Error::ConnectInProgress)));
                assert!(matches!(connector.stop_connecting(), Err(Error::NotConnecting)));
                transport.lose_connection();
            });
        let factory = LoggingFactory::new(&Log::new(), client).after(move |connector| {
            assert!(connector.transport().is_none());
            ended.borrow_mut().push(connector.state());
            stops(connector);
        });
        let port = subject.listen(&reactor, Script::new().factory());
        let connector = subject.connect(&reactor, &port, factory);
        states.borrow_mut().push(connector.state());
        assert!(matches!(connector.connect(), Err(Error::ConnectInProgress)));
        run(&reactor);
        assert_eq!(*states.borrow(), [
            ConnectorState::Connecting,
            ConnectorState::Connected,
            ConnectorState::Disconnected
        ]);
        assert!(matches!(connector.stop_connecting(), Err(Error::NotConnecting)));
    }

    fn only_the_connecting_side_has_a_connector(subject: &Subject) {
        // `.connector` of a transport
        let both = |there: bool| {
            Script::new().on_made(move |transport| {
                assert_eq!(transport.connector().is_some(), there);
                transport.lose_connection();
            })
        };
        subject.converse(&both(false), &both(true));
    }

    fn stopping_an_attempt_notifies_the_factory_at_once(subject: &Subject) {
        // IConnector.stopConnecting, as observed: clientConnectionFailed(UserError) is called synchronously.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let connector = subject.connect(&reactor, &port, LoggingFactory::new(&log, Script::new()));
        connector.stop_connecting().unwrap();
        log.expect(&["start factory", "started connecting", "failed UserAborted", "stop factory"]);
        assert!(matches!(connector.stop_connecting(), Err(Error::NotConnecting)));
        reactor.call_later(Duration::from_millis(20), stop);
        run(&reactor);
        assert_eq!(log.entries().len(), 4, "nothing comes later: {:?}", log.entries());
    }

    fn an_attempt_without_a_socket_fails_when_the_reactor_stops(subject: &Subject) {
        // IReactorCore.stop: the attempt waits for its name, or for its first turn. ClientFactory.stopFactory is called.
        let failed = ["start factory", "started connecting", "failed UserAborted", "stop factory"];
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.install_name_resolver(Rc::<Silent>::default());
        let named = reactor.connect_tcp("name.example:80", LoggingFactory::new(&log, Script::new())).unwrap();
        let (before, fails) = (named.clone(), log.clone());
        after_some_turns(&reactor, move |reactor| {
            assert_eq!(before.state(), ConnectorState::Connecting);
            fails.expect(&["start factory", "started connecting"]);
            stop(reactor);
        });
        run(&reactor);
        log.expect(&failed);
        assert_eq!(named.state(), ConnectorState::Disconnected);

        let (reactor, log, subject) = (subject.reactor(), Log::new(), *subject);
        let factory = LoggingFactory::new(&log, Script::new());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
            subject.connect_to_nowhere(reactor, factory);
        });
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&failed);
    }

    fn an_endpoint_fails_when_the_reactor_stops_during_its_lookup(subject: &Subject) {
        // IStreamClientEndpoint.connect: the Deferred fires.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.install_name_resolver(Rc::<Silent>::default());
        let endpoint = client_from_string(&reactor, "tcp:name.example:80").unwrap();
        let told = log.clone();
        endpoint
            .connect(&reactor, Rc::new(Script::new))
            .add_both(move |outcome| told.add(if outcome.is_err() { "failed" } else { "connected" }));
        after_some_turns(&reactor, stop);
        run(&reactor);
        log.expect(&["failed"]);
    }

    fn started_connecting_may_stop_the_attempt(subject: &Subject) {
        // ClientFactory.startedConnecting: "Connector.stopConnecting() may be called".
        let (reactor, log) = (subject.reactor(), Log::new());
        struct Stopping(LoggingFactory);
        impl ropewalk::Factory for Stopping {
            fn build_protocol(&self, _peer: &ropewalk::Address) -> Option<Box<dyn ropewalk::Protocol>> {
                unreachable!("the attempt was stopped")
            }
            fn stop_factory(&self) {
                self.0.log.add("stop factory");
            }
        }
        impl ropewalk::ClientFactory for Stopping {
            fn started_connecting(&self, connector: &Connector) {
                connector.stop_connecting().unwrap();
            }
            fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
                self.0.client_connection_failed(connector, reason);
            }
        }
        let port = subject.listen(&reactor, Script::new().factory());
        let connector = subject.connect(&reactor, &port, Stopping(LoggingFactory::new(&log, Script::new())));
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        reactor.call_later(Duration::from_millis(20), stop);
        run(&reactor);
        log.expect(&["failed UserAborted", "stop factory"]);
    }

    fn an_attempt_in_progress_can_be_stopped(subject: &Subject) {
        // IConnector.stopConnecting, in the turn in which connect(2) was called.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let connector = subject.connect(&reactor, &port, LoggingFactory::new(&log, Script::new()));
        // This call runs after the connector's first step, so the attempt has begun.
        reactor.call_later(Duration::ZERO, move |reactor| {
            connector.stop_connecting().unwrap();
            reactor.call_later(Duration::from_millis(20), stop);
        });
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed UserAborted", "stop factory"]);
    }

    fn disconnecting_ends_an_attempt_or_a_connection(subject: &Subject) {
        // IConnector.disconnect
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let early = subject.connect(&reactor, &port, LoggingFactory::new(&log, Script::new()));
        early.disconnect();
        early.disconnect();
        assert_eq!(log.entries()[2..], ["failed UserAborted", "stop factory"]);

        let log = Log::new();
        let client = Script::new().on_made(|transport| {
            transport.write(b"still sent");
            transport.connector().unwrap().disconnect();
        });
        let server = Script::new();
        let port = subject.listen(&reactor, server.factory());
        let late = subject.connect(&reactor, &port, LoggingFactory::new(&log, client).after(stops));
        run(&reactor);
        late.disconnect();
        assert_eq!(log.entries()[3..], ["connection lost ConnectionDone", "stop factory"]);
    }

    fn reconnecting_after_a_failure_keeps_the_factory_started(subject: &Subject) {
        // ClientFactory.clientConnectionFailed: if this callback connects again, doStop is not called.
        let (reactor, log, left) = (subject.reactor(), Log::new(), Cell::new(3));
        let factory = LoggingFactory::new(&log, Script::new()).after(move |connector| {
            left.set(left.get() - 1);
            match left.get() {
                0 => stops(connector),
                _ => connector.connect().unwrap(),
            }
        });
        subject.connect_to_nowhere(&reactor, factory);
        run(&reactor);
        let failed = refused(subject);
        log.expect(&[
            "start factory", "started connecting", failed, "started connecting", failed, "started connecting", failed,
            "stop factory",
        ]);
    }

    fn reconnecting_after_a_loss_keeps_the_factory_started(subject: &Subject) {
        // ClientFactory.clientConnectionLost: if this callback connects again, doStop is not called.
        let (reactor, log, left) = (subject.reactor(), Log::new(), Cell::new(2));
        let port = subject.listen(&reactor, Script::new().on_made(Transport::lose_connection).factory());
        let factory = LoggingFactory::new(&log, Script::new()).after(move |connector| {
            left.set(left.get() - 1);
            match left.get() {
                0 => stops(connector),
                _ => connector.connect().unwrap(),
            }
        });
        subject.connect(&reactor, &port, factory);
        run(&reactor);
        log.expect(&[
            "start factory",
            "started connecting", "build", "connection lost ConnectionDone",
            "started connecting", "build", "connection lost ConnectionDone",
            "stop factory",
        ]);
    }

    fn reconnecting_later_starts_the_factory_again(subject: &Subject) {
        // Factory.doStart, doStop: connecting after the callback finds a stopped factory.
        let (reactor, log, times) = (subject.reactor(), Log::new(), Rc::new(Cell::new(0)));
        let factory = LoggingFactory::new(&log, Script::new()).after(move |connector| {
            times.set(times.get() + 1);
            let (times, again) = (times.clone(), connector.clone());
            reactor_of(connector).call_later(Duration::ZERO, move |reactor| match times.get() {
                2 => stop(reactor),
                _ => again.connect().unwrap(),
            });
        });
        subject.connect_to_nowhere(&reactor, factory);
        run(&reactor);
        let once = ["start factory", "started connecting", refused(subject), "stop factory"];
        log.expect(&[once, once].concat());
    }

    fn a_shared_factory_is_stopped_after_its_last_user(subject: &Subject) {
        // Factory.doStart, doStop: the first user starts the factory, whether it is a port or a connector.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ends = Countdown::new(3);
        let counting = ends.clone();
        let factory = LoggingFactory::new(&log, Script::new().on_made(Transport::lose_connection));
        let factory = Rc::new(factory.after(move |connector| {
            let (counting, reactor) = (counting.clone(), reactor_of(connector));
            // The factory is stopped after this callback has returned.
            reactor.call_later(Duration::ZERO, move |reactor| counting.count(reactor));
        }));
        let port = subject.listen(&reactor, Script::new().factory());
        for _ in 0..3 {
            subject.connect(&reactor, &port, factory.clone());
        }
        run(&reactor);
        assert_eq!((log.count("start factory"), log.count("stop factory")), (1, 1));
        assert_eq!((log.count("started connecting"), log.count("connection lost ConnectionDone")), (3, 3));
        assert_eq!(log.entries().last().unwrap(), "stop factory");
    }

    fn a_client_factory_that_builds_no_protocol_is_disconnected(subject: &Subject) {
        // IProtocolFactory.buildProtocol: None closes the connection.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ends = Countdown::new(2);
        let (server, counting) = (Script::logged(&log, "server").counted_by(&ends), ends.clone());
        let port = subject.listen(&reactor, server.factory());
        let factory = LoggingFactory::refusing(&log).after(move |connector| counting.count(&reactor_of(connector)));
        subject.connect(&reactor, &port, factory);
        run(&reactor);
        assert!(log.contains("connection lost ConnectionDone") && log.contains("server lost ConnectionDone"));
        assert_eq!((log.count("build"), log.count("stop factory")), (1, 1));
    }

    fn many_attempts_fail_independently(subject: &Subject) {
        // A failure must not drop the other events of its batch.
        let (reactor, log, ends) = (subject.reactor(), Log::new(), Countdown::new(50));
        for _ in 0..50 {
            let ends = ends.clone();
            let after = move |connector: &Connector| ends.count(&reactor_of(connector));
            subject.connect_to_nowhere(&reactor, LoggingFactory::new(&log, Script::new()).after(after));
        }
        run(&reactor);
        assert_eq!(log.count(refused(subject)), 50);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_reactor_that_stops_cancels_its_attempts(subject: &Subject) {
        // ReactorBase.disconnectAll: attempts in progress end too.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let connector = subject.connect(&reactor, &port, LoggingFactory::new(&log, Script::new()));
        reactor.call_when_running(stop);
        run(&reactor);
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        let ends = ["failed UserAborted", "connection lost ConnectionLost"];
        assert_eq!(ends.iter().map(|end| log.count(end)).sum::<usize>(), 1, "{:?}", log.entries());
        assert_eq!(log.entries().last().unwrap(), "stop factory");
    }

    fn a_connector_is_harmless_after_its_reactor_is_gone(subject: &Subject) {
        // A stale handle's methods are no-ops or return Closed.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory = LoggingFactory::new(&log, Script::new()).after(stops);
        let connector = subject.connect_to_nowhere(&reactor, factory);
        run(&reactor);
        drop(reactor);
        assert!(matches!(connector.connect(), Err(Error::Closed)));
        connector.disconnect();
        assert!(connector.try_reactor().is_none() && connector.transport().is_none());
    }

    fn a_connector_reports_its_destination(subject: &Subject) {
        // IConnector.getDestination
        let (reactor, seen) = (subject.reactor(), Transports::new());
        let port = subject.listen(&reactor, Script::new().on_made(Transport::lose_connection).factory());
        let client = Script::new().listed_in(&seen).stop_when_lost();
        let connector = subject.connect(&reactor, &port, client.factory());
        let there = port.host().unwrap();
        assert_eq!(connector.destination(), there.to_string());
        run(&reactor);
        assert_eq!(*seen.first().peer(), there);
    }

    fn the_loop_sleeps_while_an_attempt_is_in_progress(subject: &Subject) {
        // A distant timeout does not wake the loop, and stopping the attempt cancels its timer.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let factory = LoggingFactory::new(&log, Script::new().on_made(Transport::lose_connection)).after(stops);
        subject.connect(&reactor, &port, factory);
        run(&reactor);
        assert!(reactor.get_delayed_calls().is_empty(), "the connection's timeout is still there");
    }
}
