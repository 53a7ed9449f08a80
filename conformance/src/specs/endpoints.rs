//! IStreamServerEndpoint and IStreamClientEndpoint, over TCP and UNIX sockets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{
    StreamClientEndpoint, StreamServerEndpoint, client_from_string, connect_protocol, server_from_string,
};
use ropewalk::proto::description::quote_string_argument;
use ropewalk::{Address, Deferred, Error, Factory, Failure, Port, Protocol, Reactor, Transport};

use crate::links::{Countdown, NOWHERE};
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::{Subject, run, specifications};

impl Subject {
    /// The description of an address that no port listens on yet.
    fn place(&self) -> String {
        match self.over_unix {
            true => format!("unix:{}:lockfile=0", quote_string_argument(&self.unix_path().to_string_lossy())),
            false => "tcp:0:interface=127.0.0.1".to_owned(),
        }
    }

    fn listen_by_description(&self, reactor: &Reactor, factory: impl Factory + 'static) -> Port {
        let endpoint = server_from_string(reactor, &self.place()).expect("a description that is right");
        done(endpoint.listen(reactor, Rc::new(factory))).expect("the address is free")
    }
}

/// The client endpoint for `address`.
fn client_of(reactor: &Reactor, address: &Address) -> Rc<dyn StreamClientEndpoint> {
    let description = match address {
        Address::Unix(path) => format!("unix:{}", quote_string_argument(&path.to_string_lossy())),
        other => format!("tcp:{other}"),
    };
    client_from_string(reactor, &description).expect("a description that is right")
}

/// The client endpoint of an address that no port listens on.
fn nowhere(subject: &Subject, reactor: &Reactor) -> Rc<dyn StreamClientEndpoint> {
    client_of(
        reactor,
        &match subject.over_unix {
            true => Address::Unix(subject.unix_path().into()),
            false => Address::Inet(NOWHERE),
        },
    )
}

fn done<T>(deferred: Deferred<T>) -> Result<T, Failure> {
    deferred.try_result().expect("it fires at once")
}

fn name_of(failure: Failure) -> String {
    reason_name(&failure.trap::<Error>().expect("an error of this crate"))
}

/// Runs until the attempt has an outcome: a connection, or the name of the error.
fn outcome(reactor: &Reactor, connected: Deferred<Transport>) -> Result<Transport, String> {
    let (found, ends) = (Rc::new(RefCell::new(None)), reactor.clone());
    let keep = found.clone();
    connected.add_both(move |outcome| {
        keep.replace(Some(outcome.map_err(name_of)));
        stop(&ends);
    });
    if found.borrow().is_none() {
        run(reactor);
    }
    found.take().expect("it has fired")
}

specifications! {
    endpoints;

    fn a_client_endpoint_reaches_a_server_endpoint(subject: &Subject) {
        // IStreamServerEndpoint.listen, IStreamClientEndpoint.connect
        let (reactor, client) = (subject.reactor(), Script::new());
        let port = subject.listen_by_description(&reactor, Script::echo().factory());
        let both = client.clone().on_data(|transport, _| stop(&transport.reactor()));
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(both.factory()));
        connected.add_callback(|transport| transport.write(b"hello"));
        run(&reactor);
        assert_eq!(client.received(), b"hello");
    }

    fn connect_succeeds_after_its_protocol_was_connected(subject: &Subject) {
        // _WrappingProtocol.connectionMade connects the wrapped protocol, then fires the Deferred.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let factory = LoggingFactory::new(&log, Script::logged(&log, "client").stop_when_lost());
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(factory));
        let told = log.clone();
        connected.add_callback(move |transport| {
            told.add("announced");
            transport.lose_connection();
        });
        run(&reactor);
        log.expect(&["start factory", "build", "client made", "announced", "client lost ConnectionDone", "stop factory"]);
    }

    fn an_endpoint_can_be_used_several_times(subject: &Subject) {
        // IStreamClientEndpoint.connect: "each call makes a new connection". The same holds for listen.
        let (reactor, log, ends) = (subject.reactor(), Log::new(), Countdown::new(6));
        let server = Script::new().counted_by(&ends);
        let port = subject.listen_by_description(&reactor, LoggingFactory::new(&log, server));
        let client = client_of(&reactor, &port.host().unwrap());
        let factory: Rc<dyn Factory> = Rc::new(Script::new().counted_by(&ends).factory());
        for _ in 0..3 {
            client.connect(&reactor, factory.clone()).add_callback(|transport| transport.lose_connection());
        }
        run(&reactor);
        assert_eq!(log.count("build"), 3);
        let again = server_from_string(&reactor, &subject.place()).unwrap();
        let port = done(again.listen(&reactor, Rc::new(Script::new().factory()))).unwrap();
        assert!(port.is_listening());
        reactor.call_when_running(stop);
        run(&reactor);
    }

    fn a_failed_listen_is_a_failure(subject: &Subject) {
        // IStreamServerEndpoint.listen never raises: its Deferred fails with CannotListenError.
        let reactor = subject.reactor();
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let again = match port.host().unwrap() {
            Address::Unix(path) => format!("unix:{}:lockfile=0", quote_string_argument(&path.to_string_lossy())),
            other => format!("tcp:{}:interface=127.0.0.1", other.inet().unwrap().port()),
        };
        let endpoint = server_from_string(&reactor, &again).unwrap();
        let failure = done(endpoint.listen(&reactor, Rc::new(Script::new().factory()))).unwrap_err();
        assert_eq!(name_of(failure), "CannotListen");
    }

    fn a_failed_attempt_stops_the_factory(subject: &Subject) {
        // IStreamClientEndpoint.connect never raises: its Deferred fails with ConnectError. Each doStart is followed by
        // doStop.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory = LoggingFactory::new(&log, Script::new());
        let connected = nowhere(subject, &reactor).connect(&reactor, Rc::new(factory));
        assert!(!connected.is_done());
        let refused = if subject.over_unix { "Connect" } else { "ConnectionRefused" };
        assert_eq!(outcome(&reactor, connected).unwrap_err(), refused);
        log.expect(&["start factory", "stop factory"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn cancelling_stops_an_attempt_at_once(subject: &Subject) {
        // ConnectingCancelledError(address)
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen_by_description(&reactor, LoggingFactory::new(&log, Script::new()));
        let factory = LoggingFactory::new(&log, Script::new());
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(factory));
        connected.cancel();
        let failure = done(connected).unwrap_err();
        let host = port.host().unwrap().to_string();
        assert_eq!(failure.to_string(), format!("connecting to {host} was cancelled"));
        assert_eq!(name_of(failure), "ConnectingCancelled");
        log.expect(&["start factory", "start factory", "stop factory"]);
        reactor.call_later(Duration::from_millis(10), stop);
        run(&reactor);
        assert_eq!(log.count("build"), 0);
    }

    fn cancelling_while_the_protocol_is_built_closes_its_connection(subject: &Subject) {
        // A callback may use any method of any object. So build_protocol or connection_made may cancel the Deferred.
        struct Cancelling(Log, Rc<RefCell<Option<ropewalk::proto::CancelHandle>>>, bool);
        impl Factory for Cancelling {
            fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
                let handle = self.1.take().expect("it is built once");
                let script = Script::logged(&self.0, "client").stop_when_lost();
                if self.2 {
                    handle.cancel();
                    return Some(Box::new(script));
                }
                Some(Box::new(script.on_made(move |_| handle.cancel())))
            }
        }
        for while_built in [true, false] {
            let (reactor, log, handle) = (subject.reactor(), Log::new(), Rc::new(RefCell::new(None)));
            let port = subject.listen_by_description(&reactor, Script::new().factory());
            let factory = Cancelling(log.clone(), handle.clone(), while_built);
            let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(factory));
            handle.replace(Some(connected.cancel_handle()));
            run(&reactor);
            assert_eq!(name_of(done(connected).unwrap_err()), "ConnectingCancelled");
            log.expect(&["client made", "client lost ConnectionDone"]);
        }
    }

    fn cancelling_an_established_connection_has_no_effect(subject: &Subject) {
        // Deferred.cancel has no effect on a result that is available.
        let reactor = subject.reactor();
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(Script::new().factory()));
        let handle = connected.cancel_handle();
        let transport = outcome(&reactor, connected).unwrap();
        handle.cancel();
        reactor.call_when_running(move |reactor| {
            assert!(!transport.is_disconnecting());
            stop(reactor);
        });
        run(&reactor);
    }

    fn a_factory_that_builds_no_protocol_fails_the_attempt(subject: &Subject) {
        // twisted.internet.error.NoProtocol
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen_by_description(&reactor, Script::new().stop_when_lost().factory());
        let factory = Rc::new(LoggingFactory::refusing(&log));
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, factory);
        // The run ends when the server's connection has ended.
        run(&reactor);
        assert_eq!(name_of(done(connected).unwrap_err()), "NoProtocol");
        log.expect(&["start factory", "build", "stop factory"]);
    }

    fn a_protocol_that_panics_in_connection_made_fails_the_attempt(subject: &Subject) {
        // A panic in a callback closes the connection, and the loop continues.
        let reactor = subject.plain_reactor();
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let factory = Script::new().on_made(|_| panic!("on purpose")).factory();
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(factory));
        assert_eq!(outcome(&reactor, connected).unwrap_err(), "Panicked");
    }

    fn a_factory_that_panics_fails_the_attempt(subject: &Subject) {
        // The Deferred must fire: otherwise the caller would wait for ever.
        let reactor = subject.plain_reactor();
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let factory = || -> Script { panic!("on purpose") };
        let connected = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(factory));
        assert_eq!(outcome(&reactor, connected).unwrap_err(), "ConnectionDone");
    }

    fn an_attempt_whose_reactor_is_dropped_fails(subject: &Subject) {
        // A Deferred fails when its last resolver is dropped.
        let reactor = subject.reactor();
        let connected = nowhere(subject, &reactor).connect(&reactor, Rc::new(Script::new().factory()));
        drop(reactor);
        assert!(done(connected).is_err());
    }

    fn a_single_protocol_is_connected_without_a_factory(subject: &Subject) {
        // twisted.internet.endpoints.connectProtocol
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen_by_description(&reactor, Script::new().factory());
        let host = port.host().unwrap();
        let client = client_of(&reactor, &host);
        let connected = connect_protocol(&reactor, &client, Script::logged(&log, "client"));
        let transport = outcome(&reactor, connected).unwrap();
        assert_eq!(*transport.peer(), host);
        log.expect(&["client made", "client lost ConnectionLost"]);
    }

    fn a_factory_of_several_attempts_is_started_once(subject: &Subject) {
        // Factory.doStart and doStop count their users.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory: Rc<dyn Factory> = Rc::new(LoggingFactory::new(&log, Script::new()));
        let client = nowhere(subject, &reactor);
        let attempts: Vec<_> = (0..3).map(|_| client.connect(&reactor, factory.clone())).collect();
        log.expect(&["start factory"]);
        attempts.iter().for_each(Deferred::cancel);
        log.expect(&["start factory", "stop factory"]);
        attempts.into_iter().for_each(|attempt| drop(done(attempt).unwrap_err()));
    }

    fn a_registered_endpoint_type_is_found_by_its_prefix(subject: &Subject) {
        // IStreamServerEndpointStringParser: a plugin registers a prefix. The rest of the string is a nested
        // description.
        let (reactor, place) = (subject.reactor(), subject.place());
        reactor.endpoints().register_server("again", |endpoints, description| {
            endpoints.server(description.text().split_once(':').expect("it is nested").1)
        });
        let endpoint: Rc<dyn StreamServerEndpoint> =
            server_from_string(&reactor, &format!("again:again:{place}")).unwrap();
        assert!(done(endpoint.listen(&reactor, Rc::new(Script::new().factory()))).unwrap().is_listening());
        let wrong = server_from_string(&reactor, "against:tcp:1").err().unwrap().to_string();
        assert!(wrong.contains("'against'") && wrong.contains("again,") && wrong.contains("tcp6"), "{wrong}");
    }

    fn an_invalid_argument_is_reported_before_listening(subject: &Subject) {
        // serverFromString: the error has the argument's offset.
        let reactor = subject.reactor();
        let wrong = server_from_string(&reactor, "tcp:0:interface=localhost").err().unwrap();
        assert_eq!(wrong.offset(), "tcp:0:interface=".len());
        assert!(wrong.to_string().contains("expected an IP address"), "{wrong}");
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_forwarded_connection_has_the_addresses_of_its_header(subject: &Subject) {
        // HAProxyProtocolWrapper.getPeer and getHost. buildProtocol gets the forwarded peer.
        struct Peers(Log);
        impl Factory for Peers {
            fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
                self.0.add(peer.to_string());
                let made = self.0.clone();
                Some(Box::new(Script::echo().on_made(move |transport| {
                    made.add(format!("{} {}", transport.peer(), transport.host().unwrap()));
                })))
            }
        }
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = server_from_string(&reactor, &format!("haproxy:{}", subject.place())).unwrap();
        let port = done(server.listen(&reactor, Rc::new(Peers(log.clone())))).unwrap();
        let client = Script::new().on_data(|transport, _| stop(&transport.reactor())).on_made(|transport| {
            transport.write(b"PROXY TCP6 2001:db8::1 2001:db8::2 54321 443\r\nhello");
        });
        let _connecting = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(client.factory()));
        run(&reactor);
        assert_eq!(client.received(), b"hello");
        log.expect(&["[2001:db8::1]:54321", "[2001:db8::1]:54321 [2001:db8::2]:443"]);
    }

    fn a_connection_without_the_expected_header_is_closed(subject: &Subject) {
        // InvalidProxyHeader: the connection is lost, and no protocol is built.
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = server_from_string(&reactor, &format!("haproxy:{}", subject.place())).unwrap();
        let port = done(server.listen(&reactor, Rc::new(LoggingFactory::new(&log, Script::new())))).unwrap();
        let client = Script::new().on_made(|transport| transport.write(b"hello")).stop_when_lost();
        let _connecting = client_of(&reactor, &port.host().unwrap()).connect(&reactor, Rc::new(client.factory()));
        run(&reactor);
        log.expect(&["start factory", "stop factory"]);
    }
}
