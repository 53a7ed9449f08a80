//! `Reactor::settle`: the end of `prepare` without a turn, for hosts that use transports outside of callbacks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Error, Reactor, Transport};

use crate::links::Transports;
use crate::script::{Log, Script};
use crate::specifications;
use crate::waiting::iterate_until;

const MOMENT: Duration = Duration::from_millis(1);

/// Connects two scripts, and returns the two ends: the server's and the client's.
fn ends(subject: &crate::Subject, reactor: &Reactor, server: Script, client: Script) -> (Transport, Transport) {
    let (servers, clients) = (Transports::new(), Transports::new());
    subject.join(reactor, &server.listed_in(&servers), &client.listed_in(&clients));
    iterate_until(reactor, || servers.all().len() + clients.all().len() == 2);
    (servers.first(), clients.first())
}

/// Handles events, and does nothing else of a turn.
fn handle_events(reactor: &Reactor, until: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if until() {
            return;
        }
        reactor.wait(Some(MOMENT)).unwrap();
        reactor.dispatch();
    }
}

specifications! {
    settling;

    fn settling_sends_bytes_that_were_written_outside_of_callbacks(subject: &Subject) {
        // Such bytes wait for the end of `prepare`, which is not called here.
        let (reactor, server) = (subject.reactor(), Script::new());
        let (_server, client) = ends(subject, &reactor, server.clone(), Script::new());
        client.write(b"x");
        assert_eq!(client.buffered(), 1);
        reactor.settle().unwrap();
        assert_eq!(client.buffered(), 0);
        handle_events(&reactor, || !server.received().is_empty());
        assert_eq!(server.received(), b"x");
    }

    fn settling_closes_a_connection_without_a_turn(subject: &Subject) {
        // No wait, no delayed call, no task, no call from a thread.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (server, client) = ends(subject, &reactor, Script::new(), Script::logged(&log, "client"));
        server.write(b"an event that is not handled");
        reactor.settle().unwrap();
        reactor.call_later(Duration::ZERO, log.note("delayed call"));
        reactor.call_from_thread(log.note("thread call"));
        let task = log.clone();
        drop(reactor.spawn(async move { task.add("task") }));
        client.abort_connection();
        log.expect(&["client made"]);
        reactor.settle().unwrap();
        log.expect(&["client made", "client lost ConnectionAborted"]);
        reactor.settle().unwrap();
        log.expect(&["client made", "client lost ConnectionAborted"]);
        reactor.prepare().unwrap();
        assert_eq!(log.entries()[2..], ["thread call", "delayed call", "task"]);
    }

    fn a_callback_can_settle_other_connections(subject: &Subject) {
        // The connection whose callback runs settles when the callback returns, as always.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_, other) = ends(subject, &reactor, Script::new(), Script::logged(&log, "other"));
        let noted = log.clone();
        let server = Script::logged(&log, "own").on_data(move |transport, _| {
            other.abort_connection();
            transport.abort_connection();
            transport.reactor().settle().unwrap();
            noted.add("settled");
        });
        let (_, client) = ends(subject, &reactor, server, Script::new());
        client.write(b"x");
        iterate_until(&reactor, || log.contains("own lost ConnectionAborted"));
        let expected = ["own data x", "other lost ConnectionAborted", "settled", "own lost ConnectionAborted"];
        assert_eq!(log.entries()[2..], expected);
    }

    fn a_callback_of_a_settling_can_settle(subject: &Subject) {
        // The inner call settles the connections that the outer one has not settled yet.
        let (reactor, log) = (subject.reactor(), Log::new());
        let noted = log.clone();
        let settles = Script::new().on_lost(move |transport, _| {
            noted.add("begins");
            transport.reactor().settle().unwrap();
            noted.add("ends");
        });
        let clients: Vec<_> = (0..3).map(|_| ends(subject, &reactor, Script::new(), settles.clone()).1).collect();
        clients.iter().for_each(Transport::abort_connection);
        reactor.settle().unwrap();
        log.expect(&["begins", "begins", "begins", "ends", "ends", "ends"]);
    }

    fn work_that_settling_adds_is_reported_to_a_sleeping_host(subject: &Subject) {
        // The host's sleep may have become too long: set_deadline_hook.
        let reactor = subject.reactor();
        let adds = Script::new().on_lost(|transport, _| {
            transport.reactor().call_later(Duration::ZERO, |_| ());
        });
        let (_server, client) = ends(subject, &reactor, Script::new(), adds);
        while reactor.prepare().unwrap() == Some(Duration::ZERO) {}
        client.abort_connection();
        let told = Rc::new(Cell::new(0));
        let count = told.clone();
        reactor.set_deadline_hook(Some(Rc::new(move || count.set(count.get() + 1))));
        reactor.settle().unwrap();
        assert_eq!(told.get(), 1);
        assert_eq!(reactor.prepare().unwrap(), None);
    }

    fn a_reactor_whose_wait_is_detached_settles_afterwards(subject: &Subject) {
        // Error::Waiting, and nothing is lost.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_server, client) = ends(subject, &reactor, Script::new(), Script::logged(&log, "client"));
        let wait = reactor.detach_wait().unwrap();
        client.abort_connection();
        assert!(matches!(reactor.settle(), Err(Error::Waiting)));
        log.expect(&["client made"]);
        drop(wait);
        reactor.settle().unwrap();
        log.expect(&["client made", "client lost ConnectionAborted"]);
    }
}
