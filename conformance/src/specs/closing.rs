//! The end of a connection: loseConnection, loseWriteConnection, abortConnection, connectionLost and half closes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::transports::{Linger, Producer, PushProducer};
use ropewalk::{Address, Error, Factory, Phase, Protocol, Reactor, Transport};

use crate::links::{Countdown, Transports, assert_same_bytes, noise};
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::waiting::{after_some_turns, run_and_expect, run_until, when};
use crate::{Subject, run, specifications};

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

/// Returns a script that never reads.
fn deaf() -> Script {
    Script::new().on_made(Transport::pause_producing)
}

/// Pauses `server`, which sends a byte. The client does not read it, sends `sent` and possibly the end of its data, and
/// resets the connection. A UNIX socket resets only because of the unread byte. Then calls `then` with the server's
/// end.
fn reset_while_paused(
    subject: Subject,
    reactor: &Reactor,
    server: &Script,
    sent: &'static [u8],
    sends_end: bool,
    then: impl FnOnce(Transport) + 'static,
) {
    let greet = |server: &Transport| {
        server.pause_producing();
        server.write(b"x");
    };
    let send = move |client: &Transport| {
        client.write(sent);
        if sends_end {
            client.lose_write_connection();
        }
    };
    subject.join_and(reactor, &server.clone().on_made(greet), &deaf().on_made(send), move |server, client| {
        client.abort_connection();
        then(server);
    });
}

/// Runs until the log has the expected events. Fails if the end of the run has caused some of them.
#[track_caller]
fn run_and_expect_before_the_stop(reactor: &Reactor, log: &Log, expected: &[&str]) {
    reactor.add_system_event_trigger(Phase::Before, "shutdown", log.note("stop"));
    let (seen, enough) = (log.clone(), expected.len());
    run_until(reactor, move || seen.entries().len() >= enough);
    log.expect(&[expected, &["stop"]].concat());
}

fn write_and_lose(transport: &Transport) {
    transport.write(b"goodbye");
    transport.lose_connection();
}

/// Asserts that a connection has ended and that every method is a no-op or an error.
fn use_after_the_end(transport: &Transport) {
    assert!(!transport.is_connected());
    transport.write(b"late");
    transport.write(&[0; 100_000]);
    transport.write_bytes(vec![0; 100_000]);
    transport.write_sequence([b"late"]);
    transport.lose_connection();
    transport.lose_write_connection();
    transport.abort_connection();
    transport.pause_producing();
    transport.resume_producing();
    transport.unregister_producer();
    transport.set_watermarks(1, 1);
    transport.unread(b"late");
    transport.switch_protocol(Box::new(Script::new().on_lost(|_, _| panic!("connection_lost is called once"))));
    assert_eq!(transport.buffered(), 0);
    assert!(!transport.is_paused() && !transport.is_disconnecting());
    assert!(matches!(transport.host(), Err(Error::Closed)));
    assert!(matches!(transport.tcp_no_delay(), Err(Error::Closed)));
    assert!(matches!(transport.set_tcp_no_delay(true), Err(Error::Closed)));
    assert!(matches!(transport.tcp_keep_alive(), Err(Error::Closed)));
    assert!(matches!(transport.set_tcp_keep_alive(true), Err(Error::Closed)));
    assert!(transport.handle().is_none());
}

specifications! {
    closing;

    fn losing_a_connection_flushes_to_a_slow_reader(subject: &Subject) {
        // ITransport.loseConnection: closes after all buffered data has been written.
        let sent = noise(1_000_000, 1);
        let server = Script::slow_reader();
        subject.converse(&server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.received(), &sent);
    }

    fn data_written_after_losing_a_connection_is_still_sent(subject: &Subject) {
        // ITransport.loseConnection, as observed in Twisted. A later turn may still write, while the peer reads slowly.
        let (first, last) = (noise(TOO_MUCH, 2), noise(100_000, 3));
        let expected = [&first[..], b"same callback", &last].concat();
        let client = Script::new().on_made(move |transport| {
            transport.write(&first);
            transport.lose_connection();
            transport.write(b"same callback");
            assert!(transport.is_disconnecting() && transport.is_connected());
            let (later, last) = (transport.clone(), last.clone());
            transport.reactor().call_later(Duration::ZERO, move |_| {
                assert!(later.is_disconnecting(), "the test needs a queue that is still there");
                later.write(&last);
            });
        });
        // The peer starts to read when the last write has been made.
        let server = deaf().on_made(|transport| {
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(20), move |_| later.resume_producing());
        });
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &expected);
    }

    fn losing_a_connection_stops_reading_at_once(subject: &Subject) {
        // ITransport.loseConnection: data that arrives while the queue is being sent is not delivered.
        let log = Log::new();
        let server = Script::logged(&log, "server").on_data(|transport, _| {
            transport.write(&noise(TOO_MUCH, 4));
            transport.lose_connection();
            transport.pause_producing();
            transport.resume_producing();
        });
        let client = Script::new()
            .on_made(|transport| transport.write(b"first"))
            .on_data(|transport, _| transport.write(b"never read"));
        subject.converse(&server, &client);
        log.expect(&["server made", "server data first", "server lost ConnectionDone"]);
    }

    fn losing_a_connection_twice_equals_losing_it_once(subject: &Subject) {
        // ITransport.loseConnection: repeated calls are ignored.
        let log = Log::new();
        let client = Script::logged(&log, "client").on_made(|transport| {
            transport.lose_connection();
            transport.lose_connection();
            let later = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| later.lose_connection());
        });
        subject.converse(&Script::new(), &client);
        log.expect(&["client made", "client lost ConnectionDone"]);
    }

    fn losing_a_connection_notifies_its_protocol_after_the_call(subject: &Subject) {
        // Methods of a transport never call their own protocol before they return.
        for end in [Transport::lose_connection, Transport::abort_connection, Transport::lose_write_connection] {
            let log = Log::new();
            let returned = log.clone();
            let client = Script::logged(&log, "client").on_made(move |transport| {
                end(transport);
                returned.add("returned");
            });
            subject.converse(&Script::new(), &client);
            assert_eq!(log.entries()[..2], ["client made", "returned"]);
            assert!(log.entries().len() > 2);
        }
    }

    fn a_clean_close_is_connection_done_at_both_ends(subject: &Subject) {
        // IProtocol.connectionLost: the reason is ConnectionDone after an orderly close.
        let log = Log::new();
        let client = Script::logged(&log, "client").on_data(|transport, _| transport.lose_connection());
        let server = Script::logged(&log, "server").on_made(|transport| transport.write(b"x"));
        subject.converse(&server, &client);
        assert!(log.contains("client lost ConnectionDone") && log.contains("server lost ConnectionDone"));
        assert!(log.contains("server read lost") && !log.contains("client read lost"));
    }

    fn a_connection_can_be_lost_in_connection_made(subject: &Subject) {
        // IProtocol.connectionMade
        for end in [Transport::lose_connection, Transport::abort_connection] {
            let (reactor, log) = (subject.reactor(), Log::new());
            // To the other end this may look like a failed connection attempt.
            subject.join(&reactor, &Script::logged(&log, "server").on_made(end).stop_when_lost(), &Script::new());
            run(&reactor);
            assert_eq!(log.entries()[0], "server made");
            assert_eq!(log.entries().len(), 2);
        }
    }

    fn aborting_drops_queued_data(subject: &Subject) {
        // ITCPTransport.abortConnection: ConnectionAborted at this end, ConnectionLost at the peer.
        let log = Log::new();
        let client = Script::logged(&log, "client").on_made(|transport| {
            transport.write(&noise(TOO_MUCH, 5));
            transport.abort_connection();
            transport.write(b"dropped");
        });
        let server = Script::new();
        subject.converse(&server, &client);
        log.expect(&["client made", "client lost ConnectionAborted"]);
        assert!(server.received().len() < TOO_MUCH);
    }

    fn aborting_does_not_wait_for_a_full_buffer(subject: &Subject) {
        // ITCPTransport.abortConnection works also after loseConnection, with full buffers and while paused.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client").stop_when_lost().on_made(|transport| {
            transport.pause_producing();
            transport.write(&noise(TOO_MUCH, 6));
            transport.lose_connection();
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(1), move |_| {
                later.abort_connection();
                later.abort_connection();
                later.lose_connection();
            });
        });
        subject.join(&reactor, &deaf(), &client);
        run(&reactor);
        log.expect(&["client made", "client lost ConnectionAborted"]);
    }

    fn a_half_close_flushes_while_reading_continues(subject: &Subject) {
        // ITCPTransport.loseWriteConnection
        let (there, back) = (noise(TOO_MUCH, 7), noise(1_000_000, 8));
        let log = Log::new();
        let (question, answer) = (there.clone(), back.clone());
        let ended = log.clone();
        let client = Script::new()
            .on_made(move |transport| {
                transport.write(&question);
                transport.lose_write_connection();
                transport.lose_write_connection();
            })
            .on_write_lost(move |transport| {
                assert_eq!(transport.buffered(), 0);
                ended.add("write lost");
            });
        let server = Script::new().on_read_lost(move |transport| {
            transport.write(&answer);
            transport.lose_connection();
        });
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &there);
        assert_same_bytes(&client.received(), &back);
        log.expect(&["write lost"]);
    }

    fn data_written_after_a_half_close_is_dropped(subject: &Subject) {
        // ITCPTransport.loseWriteConnection
        let client = Script::new().on_made(|transport| {
            transport.write(b"sent");
            transport.lose_write_connection();
            transport.write(b"dropped");
            transport.write(&[0; 100_000]);
            let later = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| later.write(b"dropped"));
        });
        let server = Script::new();
        subject.converse(&server, &client);
        assert_eq!(server.received(), b"sent");
    }

    fn a_connection_with_both_halves_closed_is_done(subject: &Subject) {
        // IHalfCloseableProtocol: each end closes its own half.
        let log = Log::new();
        let half = |name| Script::logged(&log, name).on_read_lost(Transport::lose_write_connection);
        let client = half("client").on_made(|transport| {
            transport.write(b"x");
            transport.lose_write_connection();
        });
        subject.converse(&half("server"), &client);
        let told = |name: &str| log.entries().into_iter().filter(|entry| entry.starts_with(name)).collect::<Vec<_>>();
        assert_eq!(told("server"), ["server made", "server data x", "server write lost", "server lost ConnectionDone"]);
        assert_eq!(told("client"), ["client made", "client write lost", "client lost ConnectionDone"]);
    }

    fn losing_a_half_closed_connection_completes_at_once(subject: &Subject) {
        // ITransport.loseConnection after a half-close completes at once: no bytes are left to send.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client")
            .on_made(Transport::lose_write_connection)
            .on_write_lost(Transport::lose_connection)
            .stop_when_lost();
        // The other end keeps its half open.
        subject.join(&reactor, &Script::new().on_read_lost(|_| {}), &client);
        run(&reactor);
        log.expect(&["client made", "client lost ConnectionDone"]);
    }

    fn no_data_is_delivered_after_the_peers_half_close(subject: &Subject) {
        // IHalfCloseableProtocol.readConnectionLost is called once. Reading has stopped, also after resumeProducing.
        let log = Log::new();
        let ended = log.clone();
        let server = Script::logged(&log, "server").on_read_lost(move |transport| {
            ended.add("server read lost");
            transport.pause_producing();
            transport.resume_producing();
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(10), move |_| later.lose_connection());
        });
        let client = Script::new().on_made(|transport| {
            transport.write(b"x");
            transport.lose_write_connection();
        });
        subject.converse(&server, &client);
        log.expect(&["server made", "server data x", "server read lost", "server lost ConnectionDone"]);
    }

    fn the_loop_sleeps_while_a_connection_is_half_closed(subject: &Subject) {
        // A level-triggered provider would report the end of the input in every turn.
        let reactor = subject.reactor();
        let keep = || Script::new().on_read_lost(|_| {});
        subject.join(&reactor, &keep(), &keep().on_made(Transport::lose_write_connection));
        reactor.call_later(Duration::from_millis(30), |reactor| drop(reactor.call_later(Duration::from_millis(30), stop)));
        let turns = crate::count_turns(&reactor);
        assert!(turns < 30, "{turns} turns in which there was nothing to do");
    }

    fn a_hang_up_delivers_all_data_before_the_end(subject: &Subject) {
        // IProtocol.connectionLost. Twisted drops what a pipe still holds; here all data is delivered before the end.
        let (log, sent) = (Log::new(), noise(60_000, 9));
        let order = log.clone();
        // The server starts to read when everything has arrived, the end included.
        let server = deaf()
            .on_made(|transport| {
                let later = transport.clone();
                transport.reactor().call_later(Duration::from_millis(20), move |_| later.resume_producing());
            })
            .on_read_lost(move |transport| {
                order.add("read lost");
                transport.lose_connection();
            });
        subject.converse(&server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.received(), &sent);
        log.expect(&["read lost"]);
    }

    fn a_hang_up_delivers_all_data_to_a_reader_that_pauses(subject: &Subject) {
        // The reader pauses after each delivery. The end of the input is pending behind the last delivery.
        let sent = noise(60_000, 10);
        let server = Script::slow_reader().on_made(|transport| {
            transport.pause_producing();
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(20), move |_| later.resume_producing());
        });
        subject.converse(&server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.received(), &sent);
    }

    fn a_failed_write_delivers_all_received_data_before_the_end(subject: &Subject) {
        // IProtocol.connectionLost comes last. An answer that came before a reset is not lost, whether a read or a
        // write notices the reset.
        let acts: [fn(&Transport); 3] =
            [|end| end.write(b"x"), |end| end.write(&[0; 100_000]), Transport::lose_write_connection];
        for act in acts {
            let (log, sent) = (Log::new(), noise(60_000, 13));
            let lost = log.clone();
            let server = Script::new().on_lost(move |_, _| lost.add("lost")).stop_when_lost();
            let resumed = log.clone();
            subject.after_a_reset(&subject.reactor(), &server, &sent, move |end| {
                act(&end);
                after_some_turns(&end.reactor(), move |reactor| {
                    act(&end);
                    after_some_turns(reactor, move |_| {
                        resumed.add("resumed");
                        end.resume_producing();
                    });
                });
            });
            assert_same_bytes(&server.received(), &sent);
            log.expect(&["resumed", "lost"]);
        }
    }

    fn a_failed_write_closes_a_paused_connection_without_data(subject: &Subject) {
        // IProtocol.connectionLost: a pause holds only data back, and no data has arrived.
        let log = Log::new();
        let server = Script::logged(&log, "server").stop_when_lost();
        subject.after_a_reset(&subject.reactor(), &server, b"", |end| {
            end.write(b"x");
            after_some_turns(&end.reactor(), move |_| end.write(b"x"));
        });
        log.expect(&["server made", "server lost ConnectionLost"]);
    }

    fn a_failed_write_delivers_data_to_a_reader_that_pauses(subject: &Subject) {
        // The server pauses after each delivery, and returns the bytes that it has not taken.
        let sent = noise(60_000, 14);
        let all = Rc::new(RefCell::new(Vec::new()));
        let collected = all.clone();
        let server = Script::slow_reader().stop_when_lost().on_data(move |transport, data| {
            let count = data.len().min(1 + collected.borrow().len() % 9000);
            collected.borrow_mut().extend_from_slice(&data[..count]);
            transport.unread(&data[count..]);
        });
        subject.after_a_reset(&subject.reactor(), &server, &sent, |end| {
            end.write(b"x");
            end.resume_producing();
        });
        assert_same_bytes(&all.borrow(), &sent);
    }

    fn the_loop_sleeps_while_a_failed_write_waits_for_its_reader(subject: &Subject) {
        // poll(2) reports POLLERR and POLLHUP unasked.
        let (reactor, counts) = subject.counted();
        let waits = Rc::new(Cell::new(0));
        let counted = waits.clone();
        subject.after_a_reset(&reactor, &Script::new(), b"unread", move |end| {
            end.write(b"x");
            let before = counts.now();
            end.reactor().call_later(Duration::from_millis(60), move |reactor| {
                counted.set(counts.since(before).waits);
                stop(reactor);
            });
        });
        assert!(waits.get() < 30, "{} turns in which there was nothing to do", waits.get());
    }

    fn a_reset_closes_a_paused_connection_without_data(subject: &Subject) {
        // IProtocol.connectionLost: a pause holds only data back. In the second round the end of the data comes first.
        for sends_end in [false, true] {
            let (reactor, log) = (subject.reactor(), Log::new());
            reset_while_paused(*subject, &reactor, &Script::logged(&log, "server"), b"", sends_end, |_| {});
            run_and_expect_before_the_stop(&reactor, &log, &["server made", "server lost ConnectionLost"]);
        }
    }

    fn data_before_a_reset_is_delivered_when_a_pause_is_over(subject: &Subject) {
        // All data, then the end.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (server, resumed) = (Script::logged(&log, "server"), log.clone());
        reset_while_paused(*subject, &reactor, &server, b"last", false, move |server| {
            after_some_turns(&server.reactor(), move |_| {
                resumed.add("resumed");
                server.resume_producing();
            });
        });
        run_and_expect(&reactor, &log, &["server made", "resumed", "server data last", "server lost ConnectionLost"]);
    }

    fn a_reset_closes_a_half_closed_connection(subject: &Subject) {
        // The connection is not read after the end of its input, and has nothing to send. A UNIX socket has no reset,
        // but it hangs up.
        let (reactor, log, clients) = (subject.reactor(), Log::new(), Transports::new());
        let (ended, listed) = (log.clone(), clients.clone());
        let server = Script::logged(&log, "server").on_read_lost(move |_| {
            ended.add("server read lost");
            listed.first().abort_connection();
        });
        let client = Script::new().listed_in(&clients).on_made(|client| {
            client.write(b"x");
            client.lose_write_connection();
        });
        subject.join(&reactor, &server, &client);
        let expected = ["server made", "server data x", "server read lost", "server lost ConnectionLost"];
        run_and_expect_before_the_stop(&reactor, &log, &expected);
    }

    fn a_reset_closes_a_connection_that_waits_for_its_producer(subject: &Subject) {
        // `lose_connection` stops reading.
        struct Silent;
        impl PushProducer for Silent {
            fn pause_producing(&self) {}
            fn resume_producing(&self) {}
            fn stop_producing(&self) {}
        }
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = Script::logged(&log, "server").on_made(|server| {
            server.register_producer(Producer::push(Rc::new(Silent))).unwrap();
            server.lose_connection();
        });
        reset_while_paused(*subject, &reactor, &server, b"", false, |_| {});
        run_and_expect_before_the_stop(&reactor, &log, &["server made", "server lost ConnectionLost"]);
    }

    fn the_loop_sleeps_while_a_reset_waits_for_a_paused_reader(subject: &Subject) {
        // poll(2) reports POLLERR and POLLHUP unasked.
        let (reactor, counts) = subject.counted();
        let waits = Rc::new(Cell::new(0));
        let counted = waits.clone();
        subject.after_a_reset(&reactor, &Script::new(), b"unread", move |end| {
            let before = counts.now();
            end.reactor().call_later(Duration::from_millis(60), move |reactor| {
                counted.set(counts.since(before).waits);
                stop(reactor);
            });
        });
        assert!(waits.get() < 30, "{} turns in which there was nothing to do", waits.get());
    }

    fn data_written_in_the_call_that_stops_the_reactor_is_sent(subject: &Subject) {
        // ReactorBase.disconnectAll drops only data that the socket does not take.
        let acts: [fn(&Reactor, Transport); 2] = [
            |reactor, client| {
                reactor.call_later(Duration::ZERO, move |reactor| {
                    write_and_lose(&client);
                    stop(reactor);
                });
            },
            |reactor, client| {
                reactor.call_later(Duration::ZERO, stop);
                reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| write_and_lose(&client));
            },
        ];
        for act in acts {
            let (reactor, log) = (subject.reactor(), Log::new());
            let client = Script::logged(&log, "client").on_made(move |client| act(&client.reactor(), client.clone()));
            subject.join(&reactor, &Script::new(), &client);
            run(&reactor);
            log.expect(&["client made", "client lost ConnectionDone"]);
        }
    }

    fn data_written_by_a_connection_that_is_shut_down_is_sent(subject: &Subject) {
        // The first connection of the two that the end of the run closes says goodbye to the other one.
        let (reactor, log, clients) = (subject.reactor(), Log::new(), Transports::new());
        let (told, all) = (log.clone(), clients.clone());
        let client = Script::new().listed_in(&clients).on_lost(move |client, reason| {
            told.add(reason_name(reason));
            all.others(client).iter().for_each(write_and_lose);
        });
        let port = subject.listen(&reactor, Script::new().factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, client.factory());
        }
        run_until(&reactor, move || clients.all().len() == 2);
        log.expect(&["ConnectionLost", "ConnectionDone"]);
    }

    fn bytes_sent_before_a_close_precede_a_failed_write(subject: &Subject) {
        // The peer has closed in order. Its bytes are delivered, although the first bytes written to the peer find it
        // gone.
        let reactor = subject.reactor();
        let server = Script::new().on_made(|transport| transport.set_lingering(false));
        let client = Script::new().stop_when_lost();
        subject.join_and(&reactor, &server, &client, |server, client| {
            write_and_lose(&server);
            client.write(b"x");
        });
        run(&reactor);
        assert_eq!(client.received(), b"goodbye");
    }

    fn a_queue_the_peer_never_reads_is_dropped_with_the_connection(subject: &Subject) {
        // IProtocol.connectionLost is called once, also when the peer resets while half of the queue is unsent.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client").stop_when_lost().on_made(|transport| {
            transport.write(&noise(TOO_MUCH, 11));
            transport.lose_connection();
        });
        let server = Script::new().on_data(|transport, _| transport.abort_connection());
        subject.join(&reactor, &server, &client);
        run(&reactor);
        log.expect(&["client made", "client lost ConnectionLost"]);
    }

    fn writing_to_a_closed_peer_loses_the_connection_once(subject: &Subject) {
        // IProtocol.connectionLost, for a protocol that ignores the end of the input and continues to write.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_linger(Linger::never());
        fn write_on(transport: &Transport) {
            if transport.is_connected() {
                transport.write(b"on and on");
                let later = transport.clone();
                transport.reactor().call_later(Duration::from_micros(100), move |_| write_on(&later));
            }
        }
        let server = Script::logged(&log, "server").on_read_lost(write_on).stop_when_lost();
        subject.join(&reactor, &server, &Script::new().on_made(Transport::lose_connection));
        run(&reactor);
        log.expect(&["server made", "server lost ConnectionLost"]);
    }

    fn connection_lost_is_called_once_for_several_causes(subject: &Subject) {
        // IProtocol.connectionLost is called once, although one callback loses, half-closes and aborts both ends.
        let log = Log::new();
        let everything = |name| {
            Script::logged(&log, name).on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
                transport.lose_write_connection();
                transport.lose_connection();
                transport.abort_connection();
                transport.lose_connection();
            })
        };
        subject.converse(&everything("server"), &everything("client"));
        let ends = |name: &str| {
            let lost = format!("{name} lost");
            log.entries().iter().filter(|entry| entry.starts_with(&lost)).count()
        };
        assert_eq!((ends("server"), ends("client")), (1, 1), "{:?}", log.entries());
    }

    fn a_dead_transport_accepts_every_call(subject: &Subject) {
        // ITransport: methods are harmless inside connectionLost and afterwards.
        let (reactor, gone) = (subject.reactor(), Transports::new());
        let end = Script::new().listed_in(&gone).on_lost(|transport, _| use_after_the_end(transport));
        let both = Countdown::new(2);
        subject.join(&reactor, &end.clone().counted_by(&both), &end.on_made(Transport::lose_connection).counted_by(&both));
        run(&reactor);
        gone.all().iter().for_each(use_after_the_end);
        drop(reactor);
        gone.all().iter().for_each(use_after_the_end);
        assert!(gone.first().try_reactor().is_none());
    }

    fn a_transport_accepts_every_call_while_its_abort_is_pending(subject: &Subject) {
        // The protocol is notified of an abort after its callback has returned.
        let log = Log::new();
        let client = Script::logged(&log, "client").on_made(|transport| {
            transport.abort_connection();
            transport.write(b"late");
            transport.write(&[0; 100_000]);
            transport.resume_producing();
            transport.lose_write_connection();
            assert!(transport.host().is_ok(), "the connection ends when this callback returns");
        });
        subject.converse(&Script::new(), &client);
        log.expect(&["client made", "client lost ConnectionAborted"]);
    }

    fn a_reactor_that_stops_closes_connections_without_a_cause(subject: &Subject) {
        // ReactorBase.disconnectAll: the reason is ConnectionLost without an underlying error.
        let (reactor, causes) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        let told = causes.clone();
        let end = Script::new().on_lost(move |_, reason| told.borrow_mut().push(reason.clone()));
        let made = Countdown::new(2);
        let counted = end.on_made(move |transport| made.count(&transport.reactor()));
        subject.join(&reactor, &counted, &counted);
        run(&reactor);
        let causes = causes.borrow();
        assert!(matches!(causes[..], [Error::ConnectionLost(None), Error::ConnectionLost(None)]), "{causes:?}");
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_reactor_that_stops_drops_queued_data(subject: &Subject) {
        // ReactorBase.disconnectAll calls connectionLost, not loseConnection.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::logged(&log, "client").on_made(|transport| {
            transport.write(&noise(TOO_MUCH, 12));
            transport.lose_connection();
            transport.reactor().call_later(Duration::from_millis(1), stop);
        });
        subject.join(&reactor, &deaf(), &client);
        run(&reactor);
        log.expect(&["client made", "client lost ConnectionLost"]);
    }

    fn the_connector_is_notified_after_the_protocol(subject: &Subject) {
        // BaseClient.connectionLost notifies the protocol first, then IConnector.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = LoggingFactory::new(&log, Script::logged(&log, "client").on_made(Transport::lose_connection));
        let port = subject.listen(&reactor, Script::new().factory());
        subject.connect(&reactor, &port, client.after(|connector| stop(&connector.try_reactor().unwrap())));
        run(&reactor);
        assert_eq!(log.entries()[log.entries().len() - 3..], [
            "client lost ConnectionDone",
            "connection lost ConnectionDone",
            "stop factory"
        ]);
    }

    fn a_protocol_is_dropped_when_its_connection_ends(subject: &Subject) {
        // A transport may be kept beyond the end. The user's protocol must not be kept alive by it.
        let (reactor, kept, witness) = (subject.reactor(), Transports::new(), Rc::new(()));
        let both = Countdown::new(2);
        let port = subject.listen(&reactor, Witnessed { witness: witness.clone(), kept: kept.clone(), both: both.clone() });
        subject.connect(&reactor, &port, Script::sends(b"x".to_vec()).counted_by(&both).factory());
        run(&reactor);
        assert_eq!(kept.all().len(), 1);
        // The two references are the test's and the factory's. The port keeps the factory.
        assert_eq!(Rc::strong_count(&witness), 2);
    }

    fn dropping_the_last_reactor_handle_drops_open_connections(subject: &Subject) {
        // The loop is dropped with operations in flight. No protocol is notified.
        let (kept, witness) = (Transports::new(), Rc::new(()));
        let reactor = subject.reactor();
        let never = Countdown::new(usize::MAX);
        let factory = Rc::new(Witnessed { witness: witness.clone(), kept: kept.clone(), both: never });
        let port = subject.listen(&reactor, factory.clone());
        let client = Script::new().on_made(|transport| transport.write(&noise(TOO_MUCH, 13)));
        subject.connect(&reactor, &port, client.factory());
        let accepted = kept.clone();
        when(&reactor, move || !accepted.all().is_empty(), ropewalk::Reactor::crash);
        run(&reactor);
        assert!(kept.first().is_connected());
        drop((reactor, port));
        assert!(kept.first().try_reactor().is_none());
        drop(factory);
        assert_eq!(Rc::strong_count(&witness), 1, "a protocol is still there");
    }

    fn a_reason_explains_itself_in_words(subject: &Subject) {
        // twisted.internet.error: each reason has its message.
        let words = Rc::new(RefCell::new(Vec::new()));
        let heard = words.clone();
        let server = Script::new().on_lost(move |_, reason| {
            heard.borrow_mut().push((reason_name(reason), reason.is_done(), reason.to_string()));
        });
        subject.converse(&server, &Script::new().on_made(Transport::lose_connection));
        let words = words.borrow();
        assert_eq!(*words, [("ConnectionDone".to_owned(), true, "connection was closed cleanly".to_owned())]);
    }

    fn hundreds_of_short_connections_leave_nothing_behind(subject: &Subject) {
        // 500 connections, four at a time, reuse keys and descriptors.
        let (reactor, left) = (subject.reactor(), Rc::new(Cell::new(500)));
        let port = subject.listen(&reactor, Script::echo().factory());
        let (again, subject) = (port.clone(), *subject);
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            transport.lose_connection();
        });
        let next = Rc::new(RefCell::new(None::<Rc<dyn Fn(&ropewalk::Reactor)>>));
        let (found, port_again) = (next.clone(), again);
        let connect: Rc<dyn Fn(&ropewalk::Reactor)> = Rc::new(move |reactor| {
            let (found, left) = (found.clone(), left.clone());
            let client = client.clone().on_lost(move |transport, _| {
                left.set(left.get() - 1);
                match left.get() {
                    0..4 => {
                        if left.get() == 0 {
                            stop(&transport.reactor());
                        }
                    }
                    _ => {
                        let connect = found.borrow().clone().expect("it is there while the test runs");
                        connect(&transport.reactor());
                    }
                }
            });
            subject.connect(reactor, &port_again, client.factory());
        });
        *next.borrow_mut() = Some(connect.clone());
        for _ in 0..4 {
            connect(&reactor);
        }
        run(&reactor);
        assert_eq!(reactor.source_count(), 0);
        next.borrow_mut().take();
    }
}

/// Builds protocols that hold a witness, and keeps their transports.
struct Witnessed {
    witness: Rc<()>,
    kept: Transports,
    both: Countdown,
}

struct Witness {
    _witness: Rc<()>,
    kept: Transports,
    both: Countdown,
}

impl Factory for Witnessed {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let Witnessed { witness, kept, both } = self;
        Some(Box::new(Witness { _witness: witness.clone(), kept: kept.clone(), both: both.clone() }))
    }
}

impl Protocol for Witness {
    fn connection_made(&mut self, transport: &Transport) {
        self.kept.add(transport);
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn connection_lost(&mut self, transport: &Transport, _reason: &Error) {
        self.both.count(&transport.reactor());
    }
}
