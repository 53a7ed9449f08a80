//! Lingering: a connection between its connection_lost and the end of the peer's stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::protocols::policies::LimitTotalConnectionsFactory;
use ropewalk::transports::Linger;
use ropewalk::{Reactor, Transport};

use crate::links::{Countdown, Transports, assert_same_bytes, noise};
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{run_and_expect, when};
use crate::{run, specifications};

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Returns a script that answers the first bytes, then closes.
fn refuses(answer: Vec<u8>) -> Script {
    let answered = Rc::new(RefCell::new(Some(answer)));
    Script::new().on_data(move |transport, _| {
        if let Some(answer) = answered.borrow_mut().take() {
            transport.write(&answer);
            transport.lose_connection();
        }
    })
}

/// Returns a script that writes a byte, and keeps its side open whatever the peer does.
fn keeps_open() -> Script {
    Script::new().on_made(|transport| transport.write(b"x")).on_read_lost(|_| {})
}

/// Returns a script that writes for as long as the connection lasts.
fn never_ends() -> Script {
    fn write_on(transport: &Transport) {
        if transport.is_connected() {
            transport.write(&[0; 10_000]);
            let later = transport.clone();
            transport.reactor().call_later(MILLISECOND / 10, move |_| write_on(&later));
        }
    }
    Script::new().on_made(write_on).on_read_lost(|_| {})
}

/// Stops the loop when no connection lingers.
fn stop_after_the_last(reactor: &Reactor) {
    let handle = reactor.clone();
    reactor.when_none_linger().add_callback(move |()| {
        assert_eq!(handle.lingering_count(), 0);
        stop(&handle);
    });
}

specifications! {
    lingering;

    fn an_answer_arrives_whole_while_the_client_still_sends(subject: &Subject) {
        // RFC 9112, section 9.6. The client reads slowly, so part of the answer is still in the server's kernel at the
        // close. The server never reads the rest of the request.
        let answer = noise(1_000_000, 1);
        let (log, upload) = (Log::new(), noise(TOO_MUCH, 2));
        let client = Script::slow_reader().on_made(move |transport| transport.write(&upload));
        let ended = log.clone();
        let client = client.on_read_lost(move |transport| {
            ended.add("the end of the answer");
            transport.lose_connection();
        });
        subject.converse(&refuses(answer.clone()), &client);
        assert_same_bytes(&client.received(), &answer);
        log.expect(&["the end of the answer"]);
    }

    fn an_answer_arrives_whole_although_more_is_sent_after_the_end(subject: &Subject) {
        // RFC 1122, section 4.2.2.13: bytes for a closed connection are answered with a reset. No data is unread
        // when the server closes, and part of the answer is still in its kernel.
        let (answer, log, clients) = (noise(1_000_000, 3), Log::new(), Transports::new());
        let late = clients.clone();
        let server = refuses(answer.clone()).on_lost(move |_, _| late.first().write(b"late"));
        let ended = log.clone();
        let client = Script::slow_reader().listed_in(&clients).on_made(|transport| transport.write(b"x"));
        let client = client.on_lost(move |_, reason| ended.add(reason_name(reason)));
        subject.converse(&server, &client);
        assert_same_bytes(&client.received(), &answer);
        log.expect(&["ConnectionDone"]);
    }

    fn connection_lost_is_called_before_the_connection_lingers(subject: &Subject) {
        // ITransport.loseConnection: connectionLost is called when everything is sent, before the peer has ended. A
        // lingering connection does not count as one of the user's sources or delayed calls. Lingering connections are
        // counted separately.
        let (reactor, seen) = (subject.reactor(), Rc::new(RefCell::new(None)));
        let see = seen.clone();
        let server = refuses(b"no".into()).on_lost(move |transport, reason| {
            let reactor = transport.reactor();
            // The sources are the port and the client.
            *see.borrow_mut() = Some((reactor.lingering_count(), reactor.source_count(), reactor.get_delayed_calls().len()));
            assert_eq!(reason_name(reason), "ConnectionDone");
            stop(&reactor);
        });
        subject.join(&reactor, &server, &keeps_open());
        run(&reactor);
        assert_eq!(seen.take(), Some((1, 2, 0)));
    }

    fn a_connection_whose_peer_has_ended_does_not_linger(subject: &Subject) {
        // A connection that need not linger does not pay for lingering.
        let reactor = subject.reactor();
        let server = Script::new().on_lost(|transport, _| {
            assert_eq!(transport.reactor().lingering_count(), 1, "the client, which has closed first");
            stop(&transport.reactor());
        });
        subject.join(&reactor, &server, &Script::new().on_made(Transport::lose_connection));
        run(&reactor);
    }

    fn an_aborted_connection_does_not_linger(subject: &Subject) {
        // ITCPTransport.abortConnection
        let log = Log::new();
        let server = Script::logged(&log, "server").on_data(|transport, _| transport.abort_connection());
        let server = server.on_lost(|transport, _| assert_eq!(transport.reactor().lingering_count(), 0));
        subject.converse(&server, &never_ends());
        assert_eq!(log.entries().last().unwrap(), "server lost ConnectionAborted");
    }

    fn a_lingering_peer_that_keeps_sending_is_cut_off_by_bytes(subject: &Subject) {
        // Linger: at most 16 MiB are discarded.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::default().time(HOUR));
        let told = log.clone();
        let client = never_ends().on_lost(move |transport, _| {
            told.add("cut off");
            stop_after_the_last(&transport.reactor());
        });
        subject.join(&reactor, &refuses(b"no".into()), &client);
        run(&reactor);
        log.expect(&["cut off"]);
    }

    fn a_lingering_peer_that_keeps_sending_is_cut_off_by_time(subject: &Subject) {
        // Linger::time is the limit, however few bytes the peer sends.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::default().time(20 * MILLISECOND));
        let told = log.clone();
        let client = never_ends().on_lost(move |transport, _| {
            told.add("cut off");
            stop(&transport.reactor());
        });
        subject.join(&reactor, &refuses(b"no".into()), &client);
        run(&reactor);
        log.expect(&["cut off"]);
    }

    fn a_silent_lingering_peer_is_cut_off(subject: &Subject) {
        // The limit is a sixth of Linger::time, because a silent peer holds a descriptor for nothing.
        let reactor = subject.reactor();
        reactor.set_linger(Linger::default().time(600 * MILLISECOND));
        let late = reactor.call_later(590 * MILLISECOND, |_| panic!("cut off by time, not for its silence"));
        let server = refuses(b"no".into()).on_lost(|transport, _| stop_after_the_last(&transport.reactor()));
        subject.join(&reactor, &server, &keeps_open());
        run(&reactor);
        late.cancel().expect("the silence came first");
        assert_eq!(reactor.get_delayed_calls().len(), 0);
    }

    fn the_loop_sleeps_while_a_connection_lingers(subject: &Subject) {
        // The peer has sent bytes and keeps its side open.
        let reactor = subject.reactor();
        let server = refuses(b"no".into()).on_lost(|transport, _| {
            transport.reactor().call_later(50 * MILLISECOND, |reactor| {
                assert_eq!(reactor.lingering_count(), 1);
                stop(reactor);
            });
        });
        let client = keeps_open().on_read_lost(|transport| transport.write(b"late"));
        subject.join(&reactor, &server, &client);
        let turns = crate::count_turns(&reactor);
        assert!(turns < 30, "{turns} turns in which there was nothing to do");
    }

    fn the_end_of_a_run_closes_lingering_connections(subject: &Subject) {
        // A peer sees an end, and no descriptor leaks. Reactor::when_none_linger fires.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::default().time(HOUR));
        for _ in 0..2 {
            let told = log.clone();
            let server = refuses(b"no".into()).on_lost(move |transport, _| {
                let (handle, told) = (transport.reactor(), told.clone());
                let none_lingers = transport.reactor().when_none_linger();
                assert!(!none_lingers.is_done());
                none_lingers.add_callback(move |()| told.add(format!("{} linger", handle.lingering_count())));
                stop(&transport.reactor());
            });
            subject.join(&reactor, &server, &keeps_open());
            run(&reactor);
            assert_eq!((reactor.lingering_count(), reactor.source_count()), (0, 0));
            assert!(reactor.get_delayed_calls().is_empty());
        }
        log.expect(&["0 linger", "0 linger"]);
    }

    fn a_lingering_connection_does_not_count_against_a_limit(subject: &Subject) {
        // A lingering connection costs a descriptor and no protocol, and the number of lingering connections is
        // bounded.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::default().time(HOUR));
        let server = Script::logged(&log, "server").on_data(|transport, _| transport.lose_connection());
        let both = Countdown::new(2);
        let port = subject.listen(&reactor, LimitTotalConnectionsFactory::new(server.counted_by(&both).factory(), 1));
        let (there, again) = (port.clone(), *subject);
        let first = keeps_open().on_read_lost(move |transport| {
            again.connect(&transport.reactor(), &there, keeps_open().factory());
        });
        subject.connect(&reactor, &port, first.factory());
        run(&reactor);
        assert_eq!(log.count("server lost ConnectionDone"), 2);
    }

    fn the_lingering_connection_with_the_least_time_left_closes(subject: &Subject) {
        // Linger::connections: beyond this limit, the connection with the least time left closes.
        let (reactor, most) = (subject.reactor(), Rc::new(RefCell::new(0)));
        reactor.set_linger(Linger::default().time(HOUR).connections(3));
        let (seen, all) = (most.clone(), Countdown::new(8));
        let server = Script::new().on_data(|transport, _| transport.lose_connection()).on_lost(move |transport, _| {
            let count = transport.reactor().lingering_count();
            seen.replace_with(|most| count.max(*most));
        });
        let port = subject.listen(&reactor, server.counted_by(&all).factory());
        for _ in 0..8 {
            subject.connect(&reactor, &port, keeps_open().factory());
        }
        run(&reactor);
        assert_eq!(most.take(), 3);
    }

    fn a_port_decides_whether_its_connections_linger(subject: &Subject) {
        // Port::set_lingering. A connection may choose otherwise: Transport::set_lingering.
        for (port_lingers, connection, expected) in [(false, None, 0), (true, None, 1), (false, Some(true), 1)] {
            let reactor = subject.reactor();
            reactor.set_linger(Linger::default().by_default(!port_lingers));
            let server = refuses(b"no".into()).on_made(move |transport| {
                connection.into_iter().for_each(|on| transport.set_lingering(on));
            });
            let server = server.on_lost(move |transport, _| {
                assert_eq!(transport.reactor().lingering_count(), expected);
                stop(&transport.reactor());
            });
            subject.join(&reactor, &server, &keeps_open()).set_lingering(port_lingers);
            run(&reactor);
        }
    }

    fn lingering_may_be_off_by_default(subject: &Subject) {
        // Linger::by_default is for the connections of clients as well.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::default().by_default(false));
        let (first, second) = (log.clone(), log.clone());
        let closes = |lingers: bool, log: Log| {
            let script = Script::new().on_made(move |transport| {
                if lingers {
                    transport.set_lingering(true);
                }
                transport.lose_connection();
            });
            script.on_lost(move |transport, _| log.add(format!("{} linger", transport.reactor().lingering_count())))
        };
        let port = subject.listen(&reactor, keeps_open().factory());
        subject.connect(&reactor, &port, closes(false, first).factory());
        let (again, seen) = (*subject, log.clone());
        when(&reactor, move || seen.contains("0 linger"), move |reactor| {
            again.connect(reactor, &port, closes(true, second).factory());
        });
        run_and_expect(&reactor, &log, &["0 linger", "1 linger"]);
    }

    fn lingering_can_be_switched_off(subject: &Subject) {
        // Transport::set_lingering, Linger::never
        for everybody in [true, false] {
            let reactor = subject.reactor();
            if everybody {
                reactor.set_linger(Linger::never());
            }
            let server = refuses(b"no".into()).on_made(move |transport| transport.set_lingering(everybody));
            let server = server.on_lost(|transport, _| {
                assert_eq!(transport.reactor().lingering_count(), 0);
                stop(&transport.reactor());
            });
            subject.join(&reactor, &server, &keeps_open());
            run(&reactor);
        }
    }
}
