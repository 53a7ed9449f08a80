//! Paced connections: reading waits while the queue towards the same peer is above the high mark.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::protocols::paced;
use ropewalk::{Reactor, Transport};

use crate::links::{Countdown, MOST_DELIVERED, Transports, assert_same_bytes, noise};
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{after_some_turns, when};
use crate::{Subject, run, specifications};

/// The default high mark.
const HIGH: usize = 64 * 1024;

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

/// Sends all data back, and records the longest queue in `most`.
fn echo(most: &Rc<Cell<usize>>) -> Script {
    let most = most.clone();
    Script::echo().on_data(move |transport, _| most.set(most.get().max(transport.buffered())))
}

/// Writes `bytes`, and reads only after it is resumed.
fn floods(bytes: Vec<u8>) -> Script {
    Script::new().on_made(move |transport| {
        transport.pause_producing();
        transport.write(&bytes);
    })
}

/// Loses the connection after `count` bytes.
fn lose_after(count: usize) -> impl Fn(&Transport, &[u8]) {
    let received = Cell::new(0);
    move |transport, data| {
        received.set(received.get() + data.len());
        if received.get() == count {
            transport.lose_connection();
        }
    }
}

/// Calls `then` when the queues have not changed for some turns and are not empty.
fn when_stuck(reactor: &Reactor, ends: &Transports, then: impl FnOnce(&Reactor) + 'static) {
    let (ends, last) = (ends.clone(), RefCell::new(Vec::new()));
    let stuck = move || {
        let queued: Vec<_> = ends.all().iter().map(Transport::buffered).collect();
        let same = last.replace(queued.clone()) == queued;
        same && queued.iter().any(|&queued| queued > 0)
    };
    when(reactor, stuck, then);
}

/// Connects a paced server to a client that floods it. Calls `then` with both ends when no more data moves.
fn flooded(
    subject: &Subject,
    server: &Script,
    client: &Script,
    then: impl FnOnce(&Transport, &Transport) + 'static,
) -> Reactor {
    let (reactor, servers, clients) = (subject.reactor(), Transports::new(), Transports::new());
    let ends = Countdown::new(2);
    let server = server.clone().listed_in(&servers).counted_by(&ends);
    let client = client.clone().listed_in(&clients).counted_by(&ends);
    let port = subject.listen(&reactor, paced(server.factory()));
    subject.connect(&reactor, &port, client.factory());
    when_stuck(&reactor, &servers.clone(), move |_| then(&servers.first(), &clients.first()));
    reactor
}

specifications! {
    pacing;

    fn a_paced_server_bounds_its_queue(subject: &Subject) {
        // 8 MB from a client that reads only when no more data moves. The watermarks are 64 and 32 KiB.
        let (sent, most) = (noise(TOO_MUCH, 8), Rc::new(Cell::new(0)));
        let (server, client) = (echo(&most), floods(sent.clone()).on_data(lose_after(TOO_MUCH)));
        let reactor = flooded(subject, &server, &client, |_, client| client.resume_producing());
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
        assert!(most.get() > HIGH && most.get() <= HIGH + MOST_DELIVERED, "{} bytes were queued", most.get());
    }

    fn a_paced_client_bounds_its_queue(subject: &Subject) {
        // The factory of a connector can be paced as well.
        let (sent, most, servers, clients) = (noise(TOO_MUCH, 9), Rc::new(Cell::new(0)), Transports::new(), Transports::new());
        let reactor = subject.reactor();
        let server = floods(sent.clone()).on_data(lose_after(TOO_MUCH)).listed_in(&servers).stop_when_lost();
        let port = subject.listen(&reactor, server.factory());
        subject.connect(&reactor, &port, paced(echo(&most).listed_in(&clients).factory()));
        when_stuck(&reactor, &clients, move |_| servers.first().resume_producing());
        run(&reactor);
        assert_same_bytes(&server.received(), &sent);
        assert!(most.get() > HIGH && most.get() <= HIGH + MOST_DELIVERED, "{} bytes were queued", most.get());
    }

    fn the_end_is_reported_after_held_data(subject: &Subject) {
        // The client's last byte and its end wait in the paced server's socket until the client reads.
        let sent = noise(TOO_MUCH, 10);
        let client = floods(sent.clone()).on_made(Transport::lose_write_connection);
        let (log, ended) = (Log::new(), Log::new());
        let (read_lost, lost) = (log.clone(), ended.clone());
        let server = Script::echo()
            .on_read_lost(move |transport| {
                read_lost.add("read lost");
                transport.lose_connection();
            })
            .on_lost(move |_, reason| lost.add(reason_name(reason)));
        let early = log.clone();
        let reactor = flooded(subject, &server, &client, move |_, client| {
            assert!(!early.contains("read lost"));
            client.resume_producing();
        });
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
        assert_eq!((log.entries().len(), ended.entries()), (1, vec!["ConnectionDone".to_owned()]));
    }

    fn losing_a_paced_connection_flushes_its_queue(subject: &Subject) {
        // ITransport.loseConnection while reading waits: all answers arrive, and the rest of the input is never read.
        let client = floods(noise(TOO_MUCH, 11));
        let (log, queued) = (Log::new(), Rc::new(Cell::new(0)));
        let (lost, at_end) = (log.clone(), queued.clone());
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let server = Script::echo()
            .on_data(move |_, data| count.set(count.get() + data.len()))
            .on_lost(move |_, reason| lost.add(reason_name(reason)));
        let reactor = flooded(subject, &server, &client, move |server, client| {
            at_end.set(server.buffered());
            server.lose_connection();
            client.resume_producing();
        });
        run(&reactor);
        assert!(queued.get() > HIGH);
        log.expect(&["ConnectionDone"]);
        assert_eq!(client.received().len(), answered.get());
    }

    fn reading_continues_after_a_half_close(subject: &Subject) {
        // ITCPTransport.loseWriteConnection: the queue drains, the end follows it, and the held input is read.
        let sent = noise(TOO_MUCH, 12);
        let client = floods(sent.clone()).on_read_lost(Transport::lose_connection);
        let log = Log::new();
        let wrote = log.clone();
        let server = Script::new()
            .on_made(|transport| transport.write(&vec![b'x'; TOO_MUCH]))
            .on_write_lost(move |_| wrote.add("write lost"));
        let seen = server.clone();
        let reactor = flooded(subject, &server, &client, move |server, client| {
            assert_eq!(seen.received(), b"", "reading waits for the queue");
            server.lose_write_connection();
            client.resume_producing();
        });
        run(&reactor);
        log.expect(&["write lost"]);
        assert_eq!(client.received().len(), TOO_MUCH);
        assert_same_bytes(&server.received(), &sent);
    }

    fn a_held_connection_can_be_aborted(subject: &Subject) {
        // ITCPTransport.abortConnection
        let client = floods(noise(TOO_MUCH, 13));
        let log = Log::new();
        let lost = log.clone();
        let server = Script::echo().on_lost(move |_, reason| lost.add(reason_name(reason)));
        let reactor = flooded(subject, &server, &client, |server, client| {
            server.abort_connection();
            client.resume_producing();
        });
        run(&reactor);
        log.expect(&["ConnectionAborted"]);
    }

    fn a_paced_producer_for_another_waits_for_both_queues(subject: &Subject) {
        // The consumer resumes its producer, but the producer still waits for its own queue.
        let (reactor, servers, clients) = (subject.reactor(), Transports::new(), Transports::new());
        let server = Script::new().listed_in(&servers);
        let port = subject.listen(&reactor, paced(server.factory()));
        let client = Script::new().listed_in(&clients).on_made(|transport| {
            transport.pause_producing();
            transport.write(b"x");
        });
        for _ in 0..2 {
            subject.connect(&reactor, &port, client.factory());
        }
        let (seen, all) = (server.clone(), servers.clone());
        when(&reactor, move || all.all().len() == 2, move |reactor| {
            let (held, consumer) = (servers.first(), servers.all()[1].clone());
            held.write(&vec![1; TOO_MUCH]);
            consumer.register_producer(held.clone()).unwrap();
            consumer.write(&vec![2; TOO_MUCH]);
            let before = seen.received().len();
            let (first, last) = (clients.first(), clients.all()[1].clone());
            first.write(b"y");
            last.resume_producing();
            let drained = consumer.clone();
            when(reactor, move || drained.buffered() == 0, move |reactor| {
                assert!(!held.is_paused(), "the consumer has resumed its producer");
                assert_eq!(seen.received().len(), before, "the producer waits for its own queue");
                first.resume_producing();
                let seen = seen.clone();
                when(reactor, move || seen.received().len() == before + 1, stop);
            });
        });
        run(&reactor);
        assert_eq!(server.received().iter().filter(|&&byte| byte == b'y').count(), 1);
    }

    fn a_live_connection_can_be_paced(subject: &Subject) {
        // Transport::set_paced, from outside a callback of the connection.
        let client = floods(b"first".to_vec());
        let server = Script::new().on_data(|transport, data| {
            if data.ends_with(b"first") {
                transport.write(&vec![b'x'; TOO_MUCH]);
            }
        });
        let seen = server.clone();
        let reactor = flooded(subject, &server, &client, move |server, client| {
            client.write(b"second");
            let (server, client) = (server.clone(), client.clone());
            after_some_turns(&server.reactor(), move |reactor| {
                assert_eq!(seen.received(), b"first");
                server.set_paced(false);
                let read = seen.clone();
                when(reactor, move || read.received() == b"firstsecond", move |reactor| {
                    server.set_paced(true);
                    client.write(b"third");
                    after_some_turns(reactor, move |_| {
                        assert_eq!(seen.received(), b"firstsecond");
                        server.set_watermarks(2 * TOO_MUCH, TOO_MUCH);
                        client.lose_write_connection();
                        client.resume_producing();
                    });
                });
            });
        });
        run(&reactor);
        assert_eq!(server.received(), b"firstsecondthird");
    }

    fn a_pause_by_the_protocol_outlasts_the_hold(subject: &Subject) {
        // IPushProducer.pauseProducing belongs to the protocol. A drained queue does not undo it.
        let client = floods(b"again".to_vec());
        let server = Script::new().on_made(|transport| transport.write(&vec![b'x'; TOO_MUCH]));
        let seen = server.clone();
        let reactor = flooded(subject, &server, &client, move |server, client| {
            server.pause_producing();
            client.resume_producing();
            let (server, drained, client) = (server.clone(), server.clone(), client.clone());
            when(&server.reactor(), move || drained.buffered() == 0, move |_| {
                assert!(server.is_paused());
                assert_eq!(seen.received(), b"");
                server.resume_producing();
                client.lose_write_connection();
            });
        });
        run(&reactor);
        assert_eq!(server.received(), b"again");
    }

    fn unread_bytes_wait_until_reading_resumes(subject: &Subject) {
        // Transport::unread: the bytes are delivered when the queue has drained.
        let client = floods(b"back".to_vec());
        let given = Cell::new(false);
        let server = Script::new().on_data(move |transport, data| {
            if !given.replace(true) {
                transport.write(&vec![b'x'; TOO_MUCH]);
                transport.unread(data);
            }
        });
        let seen = server.clone();
        let reactor = flooded(subject, &server, &client, move |_, client| {
            assert_eq!(seen.received(), b"back");
            client.resume_producing();
            let (seen, client) = (seen.clone(), client.clone());
            when(&client.reactor(), move || seen.received() == b"backback", move |_| client.lose_connection());
        });
        run(&reactor);
        assert_eq!(server.received(), b"backback");
    }

    fn two_paced_floods_wait_for_each_other(subject: &Subject) {
        // Pacing is not the default, because two paced ends may wait for each other. The ends continue when one end is
        // no longer paced.
        let (reactor, ends, log) = (subject.reactor(), Transports::new(), Log::new());
        let says_much = |log: &Log| {
            let (log, received) = (log.clone(), Cell::new(0));
            Script::new().listed_in(&ends).on_made(|transport| transport.write(&vec![b'x'; TOO_MUCH])).on_data(
                move |_, data| {
                    received.set(received.get() + data.len());
                    if received.get() == TOO_MUCH {
                        log.add("everything");
                    }
                },
            )
        };
        let (server, client) = (says_much(&log), says_much(&log));
        let port = subject.listen(&reactor, paced(server.factory()));
        subject.connect(&reactor, &port, paced(client.factory()));
        let (both, told) = (ends.clone(), log.clone());
        when(&reactor, move || both.all().len() == 2, move |reactor| {
            when_stuck(reactor, &ends.clone(), move |reactor| {
                assert!(ends.all().iter().all(|end| end.buffered() > HIGH && end.is_connected()));
                told.expect(&[]);
                ends.first().set_paced(false);
                when(reactor, move || told.count("everything") == 2, stop);
            });
        });
        run(&reactor);
        assert_eq!(log.count("everything"), 2);
    }
}
