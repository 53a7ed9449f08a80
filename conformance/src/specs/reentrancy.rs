//! User code in the middle of the reactor's work: it runs the loop, stops, drops, panics.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Protocol, Reactor, Transport};

use crate::links::{Countdown, Transports};
use crate::script::{Log, Script, reason_name, stop};
use crate::{run, specifications};

/// Runs one turn, which waits only as long as a message may take.
fn turn(reactor: &Reactor) {
    reactor.iterate(Some(Duration::from_millis(5))).unwrap();
}

/// Runs at most 50 turns until `done`.
fn turns_until(reactor: &Reactor, done: impl Fn() -> bool) {
    for _ in 0..50 {
        if done() {
            return;
        }
        turn(reactor);
    }
}

/// Panics in the log line of its panic, and in its destructor.
struct Rotten;

impl Protocol for Rotten {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
        panic!("in data_received");
    }

    fn connection_lost(&mut self, transport: &Transport, _reason: &Error) {
        stop(&transport.reactor());
        panic!("in connection_lost");
    }

    fn log_prefix(&self) -> &'static str {
        panic!("in log_prefix");
    }
}

/// Panics in its destructor.
struct Brittle;

impl Protocol for Brittle {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.switch_protocol(Box::new(Script::new().stop_when_lost()));
        transport.lose_connection();
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

/// A client factory that undoes whatever its callbacks announce.
struct Meddling {
    log: Log,
    script: Script,
    stops_the_first: Cell<bool>,
    disconnects: bool,
    connector: RefCell<Option<Connector>>,
}

impl Meddling {
    fn new(log: &Log, script: Script) -> Meddling {
        let (log, stops_the_first, connector) = (log.clone(), Cell::new(false), RefCell::default());
        Meddling { log, script, stops_the_first, disconnects: false, connector }
    }
}

impl Factory for Meddling {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let connector = self.connector.borrow().clone().expect("connecting was announced");
        if self.disconnects {
            assert!(matches!(connector.stop_connecting(), Err(Error::NotConnecting)));
            connector.disconnect();
        }
        Some(Box::new(self.script.clone()))
    }
}

impl ClientFactory for Meddling {
    fn started_connecting(&self, connector: &Connector) {
        *self.connector.borrow_mut() = Some(connector.clone());
        if self.stops_the_first.take() {
            connector.stop_connecting().unwrap();
        }
    }

    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        self.log.add(format!("failed {}", reason_name(reason)));
        connector.connect().unwrap();
    }

    fn client_connection_lost(&self, _connector: &Connector, reason: &Error) {
        self.log.add(format!("lost {}", reason_name(reason)));
    }
}

specifications! {
    reentrancy;

    fn thread_calls_keep_their_order_across_a_nested_turn(subject: &Subject) {
        // IReactorFromThreads.callFromThread: calls from one thread are made in their order.
        let (reactor, log) = (subject.reactor(), Log::new());
        let first = log.clone();
        reactor.call_from_thread(move |reactor| {
            let third = first.clone();
            reactor.call_from_thread(move |_| third.add("third"));
            turn(reactor);
            first.add("first returns");
        });
        reactor.call_from_thread(log.note("second"));
        turn(&reactor);
        log.expect(&["second", "third", "first returns"]);
    }

    fn a_task_that_turns_the_loop_does_not_block_other_tasks(subject: &Subject) {
        // A callback may turn the loop. Tasks that are ready run in this inner turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (first, second, again) = (log.clone(), log.clone(), reactor.clone());
        let one = reactor.spawn(async move {
            turn(&again);
            first.add("first returns");
        });
        let other = reactor.spawn(async move { second.add("second") });
        turn(&reactor);
        log.expect(&["second", "first returns"]);
        drop((one, other));
    }

    fn a_nested_turn_delivers_events_of_the_outer_batch(subject: &Subject) {
        // The outcome of a connection attempt is reported only once, so the inner turn must deliver it.
        let (reactor, connections) = (subject.reactor(), Transports::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let listed = connections.clone();
        let waits = Rc::new(Cell::new(false));
        let both = waits.clone();
        let client = Script::new().listed_in(&connections).on_made(move |transport| {
            let reactor = transport.reactor();
            if listed.all().len() == 1 {
                turns_until(&reactor, || listed.all().len() == 2);
                both.set(listed.all().len() == 2);
                stop(&reactor);
            }
        });
        subject.connect(&reactor, &port, client.factory());
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        assert!(waits.get());
    }

    fn a_panic_in_log_prefix_is_caught(subject: &Subject) {
        // _ThreePhaseEvent, callWithLogger: "(buggy logPrefix method)"
        let reactor = subject.plain_reactor();
        let port = subject.listen(&reactor, || Rotten);
        let client = Script::new().on_made(|transport| transport.write(b"x"));
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
    }

    fn a_panic_in_a_replaced_protocols_drop_is_caught(subject: &Subject) {
        // The reactor catches a panic in any user code, destructors included.
        let reactor = subject.plain_reactor();
        let port = subject.listen(&reactor, || Brittle);
        let client = Script::new().on_made(|transport| transport.write(b"x"));
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
    }

    fn connections_that_forward_to_each_other_both_end(subject: &Subject) {
        // ITransport.loseConnection waits for a producer, unless the producer is a connection that reads no more.
        for closes_first in [0, 1] {
            let (reactor, accepted, clients) = (subject.reactor(), Transports::new(), Transports::new());
            let ended = Countdown::new(4);
            let (listed, both) = (accepted.clone(), accepted.clone());
            let server = Script::new().listed_in(&accepted).counted_by(&ended).on_made(move |_| {
                if let [left, right] = &listed.all()[..] {
                    left.register_producer(right.clone()).unwrap();
                    right.register_producer(left.clone()).unwrap();
                }
            });
            let server = server.on_read_lost(move |_| both.all().iter().for_each(Transport::lose_connection));
            let client = Script::new().listed_in(&clients).counted_by(&ended);
            let port = subject.listen(&reactor, server.factory());
            subject.connect(&reactor, &port, client.factory());
            subject.connect(&reactor, &port, client.factory());
            turns_until(&reactor, || accepted.all().len() == 2 && clients.all().len() == 2);
            reactor.call_when_running(move |_| clients.all()[closes_first].lose_connection());
            reactor.call_later(Duration::from_secs(5), |_| panic!("they wait for each other"));
            run(&reactor);
        }
    }

    fn reconnecting_in_started_connecting_makes_one_connection(subject: &Subject) {
        // IConnector.stopConnecting and connect may be called from any callback.
        let (reactor, log, accepted) = (subject.reactor(), Log::new(), Transports::new());
        let port = subject.listen(&reactor, Script::new().listed_in(&accepted).factory());
        let factory = Meddling { stops_the_first: Cell::new(true), ..Meddling::new(&log, Script::new()) };
        subject.connect(&reactor, &port, factory);
        turns_until(&reactor, || accepted.all().len() == 2);
        assert_eq!(accepted.all().len(), 1);
        log.expect(&["failed UserAborted"]);
    }

    fn an_attempt_cannot_be_stopped_while_its_protocol_is_built(subject: &Subject) {
        // BaseConnector.buildProtocol: the state is "connected" while the protocol is built.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = subject.listen(&reactor, Script::new().factory());
        let client = Script::logged(&log, "client").stop_when_lost();
        let factory = Meddling { disconnects: true, ..Meddling::new(&log, client) };
        subject.connect(&reactor, &port, factory);
        run(&reactor);
        log.expect(&["client made", "client lost ConnectionDone", "lost ConnectionDone"]);
    }
}
