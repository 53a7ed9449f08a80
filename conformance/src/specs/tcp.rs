//! IReactorTCP: ports, connectors and connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Deferred, Phase, Reactor, Transport};

use crate::script::{Log, Script};
use crate::{run, specifications};

specifications! {
    tcp;

    fn bytes_written_by_one_side_are_received_by_the_other(subject: &Subject) {
        // ITransport.write, IProtocol.dataReceived
        let reactor = subject.reactor();
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let client = Script::new()
            .on_made(|transport| transport.write(b"hello"))
            .on_data(|transport, _| transport.lose_connection())
            .stop_when_lost();
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"hello");
    }

    fn a_connection_is_made_then_receives_and_is_lost_once_and_last(subject: &Subject) {
        // IProtocol
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = Script::logged(&log, "server").stop_when_lost();
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let client = Script::new().on_made(|transport| {
            transport.write(b"bye");
            transport.lose_connection();
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        log.expect(&["server made", "server data bye", "server read lost", "server lost ConnectionDone"]);
    }

    fn bytes_that_arrive_while_a_callback_runs_the_loop_are_delivered_after_it(subject: &Subject) {
        // IReactorCore.iterate inside IProtocol.dataReceived, which is not re-entered
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Rc::new(RefCell::new(None::<Transport>));
        let (writer, entered) = (client.clone(), log.clone());
        let server = Script::logged(&log, "server").stop_when_lost().on_data(move |transport, _| {
            if let Some(client) = writer.take() {
                client.write(b"second");
                for _ in 0..3 {
                    transport.reactor().iterate(Some(Duration::from_millis(10))).unwrap();
                }
                client.lose_connection();
            }
            entered.add("server returns");
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let starter = Script::new().on_made(move |transport| {
            *client.borrow_mut() = Some(transport.clone());
            transport.write(b"first");
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), starter.factory()).unwrap();
        run(&reactor);
        let data = ["server data first", "server returns", "server data second", "server returns"];
        log.expect(&[&["server made"], &data[..], &["server read lost", "server lost ConnectionDone"]].concat());
    }

    fn a_connection_that_ends_in_its_own_callback_is_told_when_that_returns(subject: &Subject) {
        // IReactorCore: a Deferred of a "before shutdown" trigger fires in IProtocol.dataReceived
        let (reactor, log) = (subject.reactor(), Log::new());
        let (deferred, resolver) = Deferred::new();
        let (deferred, resolver) = (RefCell::new(Some(deferred)), RefCell::new(Some(resolver)));
        let started = Rc::new(RefCell::new(None::<Transport>));
        let client = started.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_: &Reactor| {
            client.borrow().as_ref().unwrap().write(b"over");
            deferred.take().unwrap()
        });
        let returning = log.clone();
        let server = Script::logged(&log, "server").on_data(move |_, _| {
            resolver.take().unwrap().callback(()).unwrap();
            returning.add("server returns");
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let starter = Script::new().on_made(move |transport| {
            *started.borrow_mut() = Some(transport.clone());
            transport.reactor().stop().unwrap();
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), starter.factory()).unwrap();
        run(&reactor);
        log.expect(&["server made", "server data over", "server returns", "server lost ConnectionLost"]);
    }
}
