//! Transport::end, and the time at which an end or an abort is reported.

use std::rc::Rc;

use ropewalk::transports::{Linger, Producer, PushProducer};
use ropewalk::{Error, Reactor, Transport};

use crate::links::{Countdown, Transports, noise};
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::{after_some_turns, iterate_until, run_and_expect, when};
use crate::{Subject, run, specifications};

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

fn own_reason() -> Error {
    Error::Failed("the user has left".into())
}

/// Logs the text of the reason.
fn logs_text(log: &Log, name: &'static str) -> impl Fn(&Transport, &Error) + 'static {
    let log = log.clone();
    move |_, reason| log.add(format!("{name}: {reason}"))
}

/// Connects `client` to a server, and calls `then` with the server's end some turns later.
fn some_turns_later(
    subject: &Subject,
    reactor: &Reactor,
    server: &Script,
    client: &Script,
    then: impl FnOnce(Transport) + 'static,
) {
    let (servers, clients) = (Transports::new(), Transports::new());
    subject.join(reactor, &server.clone().listed_in(&servers), &client.clone().listed_in(&clients));
    let made = servers.clone();
    when(reactor, move || made.all().len() + clients.all().len() == 2, move |_| then(servers.first()));
}

specifications! {
    ending;

    fn end_passes_the_reason_to_the_protocol(subject: &Subject) {
        // Transport::end. The peer sees the end of the stream.
        let log = Log::new();
        let server = Script::new().on_data(|transport, _| transport.end(own_reason())).on_lost(logs_text(&log, "server"));
        let client = Script::logged(&log, "client").on_made(|transport| transport.write(b"x"));
        subject.converse(&server, &client);
        log.expect(&[
            "client made",
            "server: the user has left",
            "client read lost",
            "client lost ConnectionDone",
        ]);
    }

    fn end_passes_the_reason_to_the_connector(subject: &Subject) {
        // IConnector: client_connection_lost follows connection_lost.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::new().on_made(|transport| transport.end(Error::TimedOut));
        let port = subject.listen(&reactor, Script::new().factory());
        subject.connect(&reactor, &port, LoggingFactory::new(&log, client));
        run_and_expect(&reactor, &log, &[
            "start factory",
            "started connecting",
            "build",
            "connection lost TimedOut",
            "stop factory",
        ]);
    }

    fn end_sends_no_reset_although_bytes_are_unread(subject: &Subject) {
        // Transport::end. A system resets a connection that is closed while bytes of the peer are unread: RFC 1122,
        // section 4.2.2.13. The client still sends when the server ends.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client").on_made(|transport| transport.write(&noise(TOO_MUCH, 1)));
        let client = client.stop_when_lost();
        let server = Script::new().on_made(Transport::pause_producing).on_lost(logs_text(&log, "server"));
        some_turns_later(subject, &reactor, &server, &client, |server| server.end(own_reason()));
        run(&reactor);
        log.expect(&[
            "client made",
            "server: the user has left",
            "client read lost",
            "client lost ConnectionDone",
        ]);
    }

    fn end_drops_the_queue(subject: &Subject) {
        // Transport::end waits neither for a slow peer nor for a producer, and overrules `lose_connection`.
        struct Notes(Log);
        impl PushProducer for Notes {
            fn pause_producing(&self) {}
            fn resume_producing(&self) {}
            fn stop_producing(&self) {
                self.0.add("stopped");
            }
        }
        let (reactor, log, both) = (subject.reactor(), Log::new(), Countdown::new(2));
        let client = Script::new().on_made(Transport::pause_producing).counted_by(&both);
        let notes = log.clone();
        let server = Script::new().on_made(move |transport| {
            transport.write(&noise(TOO_MUCH, 2));
            transport.register_producer(Producer::push(Rc::new(Notes(notes.clone())))).unwrap();
            transport.lose_connection();
        });
        let (clients, server) = (Transports::new(), server.on_lost(logs_text(&log, "server")).counted_by(&both));
        let listed = clients.clone();
        some_turns_later(subject, &reactor, &server, &client.clone().listed_in(&clients), move |server| {
            assert!(server.buffered() > 0, "the test needs a queue");
            server.end(own_reason());
            assert!(!server.is_disconnecting() && server.is_connected());
            after_some_turns(&server.reactor(), move |_| listed.first().resume_producing());
        });
        run(&reactor);
        log.expect(&["stopped", "server: the user has left"]);
        assert!(client.received().len() < TOO_MUCH);
    }

    fn the_first_reason_of_an_end_counts(subject: &Subject) {
        // Transport::end: later requests change nothing, except an abort.
        let log = Log::new();
        let server = Script::new()
            .on_data(|transport, _| {
                transport.end(own_reason());
                transport.end(Error::TimedOut);
                transport.lose_connection();
                transport.write(b"late");
            })
            .on_lost(logs_text(&log, "server"));
        let client = Script::new().on_made(|transport| transport.write(b"x"));
        subject.converse(&server, &client);
        log.expect(&["server: the user has left"]);
        assert_eq!(client.received(), b"");
    }

    fn an_abort_overrules_an_end(subject: &Subject) {
        // ITCPTransport.abortConnection
        let log = Log::new();
        let server = Script::logged(&log, "server").on_data(|transport, _| {
            transport.end(own_reason());
            transport.abort_connection();
            transport.end(own_reason());
        });
        subject.converse(&server, &Script::new().on_made(|transport| transport.write(b"x")));
        log.expect(&["server made", "server data x", "server lost ConnectionAborted"]);
    }

    fn end_without_lingering_closes_at_once(subject: &Subject) {
        // Transport::end, Linger::never
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::never());
        let server = Script::new().on_data(|transport, _| transport.end(own_reason())).on_lost(logs_text(&log, "server"));
        let server = server.on_lost(|transport, _| assert_eq!(transport.reactor().lingering_count(), 0));
        subject.converse_on(&reactor, &server, &Script::new().on_made(|transport| transport.write(b"x")));
        log.expect(&["server: the user has left"]);
    }

    fn an_end_from_outside_is_reported_in_a_later_step(subject: &Subject) {
        // Transport::abort_connection, Transport::end: connection_lost never runs within the caller's stack, so the
        // caller may hold borrows of its own. Here a host loop calls between turns.
        for end in [Transport::abort_connection, |transport: &Transport| transport.end(own_reason())] {
            let (reactor, log, servers) = (subject.reactor(), Log::new(), Transports::new());
            let server = Script::new().listed_in(&servers).on_lost(move |_, _| ());
            let told = log.clone();
            let server = server.on_lost(move |_, _| told.add("lost"));
            let _port = subject.join(&reactor, &server, &Script::new());
            iterate_until(&reactor, || !servers.all().is_empty());
            let transport = servers.first();
            end(&transport);
            log.expect(&[]);
            assert!(transport.is_connected() && !transport.is_reading());
            reactor.prepare().unwrap();
            log.expect(&["lost"]);
            assert!(!transport.is_connected());
            reactor.wait(Some(std::time::Duration::ZERO)).unwrap();
            reactor.dispatch();
        }
    }

    fn an_end_in_a_callback_is_reported_when_it_has_returned(subject: &Subject) {
        // Transport::abort_connection, Transport::end: in the connection's own callback, in that of another connection,
        // and in a delayed call.
        for end in [Transport::abort_connection, |transport: &Transport| transport.end(own_reason())] {
            let (reactor, log, servers) = (subject.reactor(), Log::new(), Transports::new());
            let (ended, listed) = (log.clone(), servers.clone());
            let server = Script::new().listed_in(&servers).on_data(move |transport, _| {
                end(transport);
                end(&listed.others(transport)[0]);
                ended.add("the callback returns");
            });
            let told = log.clone();
            let server = server.on_lost(move |_, _| told.add("lost"));
            let port = subject.listen(&reactor, server.factory());
            let clients = Transports::new();
            for _ in 0..3 {
                subject.connect(&reactor, &port, Script::new().listed_in(&clients).factory());
            }
            let (made, returns, told) = (servers.clone(), log.clone(), log.clone());
            when(&reactor, move || made.all().len() == 3, move |_| {
                clients.first().write(b"x");
            });
            when(&reactor, move || told.count("lost") == 2, move |_| {
                let last = servers.all().into_iter().find(Transport::is_connected).expect("one is left");
                end(&last);
                returns.add("the call returns");
                let reactor = last.reactor();
                after_some_turns(&reactor, stop);
            });
            run(&reactor);
            log.expect(&["the callback returns", "lost", "lost", "the call returns", "lost"]);
        }
    }
}
