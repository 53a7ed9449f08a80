//! IConsumer, IPushProducer, IPullProducer: the bounds of a transport's queue.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::transports::{Hold, Producer, PullProducer, PushProducer};
use ropewalk::{Error, Transport};

use crate::links::{Countdown, MOST_DELIVERED, Transports, assert_same_bytes, noise};
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{after_some_turns, iterate_until, run_and_expect, when};
use crate::{run, specifications};

/// The default watermarks.
const HIGH: usize = 64 * 1024;
const LOW: usize = 32 * 1024;

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

/// Logs its calls, and the length of its consumer's queue at each.
struct Noting {
    log: Log,
    consumer: Transport,
    buffered: RefCell<Vec<usize>>,
}

impl Noting {
    fn new(log: &Log, consumer: &Transport) -> Rc<Noting> {
        Rc::new(Noting { log: log.clone(), consumer: consumer.clone(), buffered: RefCell::default() })
    }

    fn note(&self, told: &str) {
        self.log.add(told);
        self.buffered.borrow_mut().push(self.consumer.buffered());
    }
}

impl PushProducer for Noting {
    fn pause_producing(&self) {
        self.note("pause");
    }

    fn resume_producing(&self) {
        self.note("resume");
    }

    fn stop_producing(&self) {
        self.note("stop");
    }
}

impl PullProducer for Noting {
    fn resume_producing(&self) {
        self.note("resume");
    }

    fn stop_producing(&self) {
        self.note("stop");
    }
}

/// Lets its consumer send once the producer is paused.
struct Releases(Log, RefCell<Option<Hold>>);

impl PushProducer for Releases {
    fn pause_producing(&self) {
        self.0.add("pause");
        self.1.take();
    }

    fn resume_producing(&self) {
        self.0.add("resume");
    }

    fn stop_producing(&self) {}
}

/// Sends `left` copies of `piece`, then unregisters and loses the connection.
struct Pieces {
    consumer: Transport,
    left: Cell<usize>,
    piece: Vec<u8>,
}

impl PullProducer for Pieces {
    fn resume_producing(&self) {
        assert_eq!(self.consumer.buffered(), 0, "asked for more before the last piece had left");
        let left = self.left.get();
        if left == 0 {
            self.consumer.unregister_producer();
            self.consumer.lose_connection();
        } else {
            self.left.set(left - 1);
            self.consumer.write(&self.piece);
        }
    }

    fn stop_producing(&self) {}
}

/// Writes whenever it may, up to a total, like a program that has a lot to send.
struct Eager {
    consumer: Transport,
    left: Cell<usize>,
    paused: Cell<bool>,
    /// Whether the producer's next writes are scheduled.
    scheduled: Cell<bool>,
    most: Rc<Cell<usize>>,
    /// Starts to read when this producer is paused for the first time.
    reader: Transports,
}

impl Eager {
    const PIECE: usize = 1000;

    fn produce(self: &Rc<Self>) {
        if self.paused.get() || self.left.get() == 0 || self.scheduled.get() {
            return;
        }
        for _ in 0..20 {
            self.left.set(self.left.get() - 1);
            self.consumer.write(&[7; Eager::PIECE]);
            self.most.set(self.most.get().max(self.consumer.buffered()));
        }
        if self.left.get() == 0 {
            self.consumer.unregister_producer();
            return self.consumer.lose_connection();
        }
        self.scheduled.set(true);
        let again = self.clone();
        self.consumer.reactor().call_later(Duration::ZERO, move |_| {
            again.scheduled.set(false);
            again.produce();
        });
    }
}

struct EagerProducer(Rc<Eager>);

impl PushProducer for EagerProducer {
    fn pause_producing(&self) {
        assert!(!self.0.paused.replace(true), "paused twice");
        self.0.reader.all().iter().for_each(Transport::resume_producing);
    }

    fn resume_producing(&self) {
        assert!(self.0.paused.replace(false), "resumed without a pause");
        self.0.produce();
    }

    fn stop_producing(&self) {
        panic!("it has unregistered");
    }
}

/// Panics in the method that has this name.
struct Fragile(&'static str);

impl PushProducer for Fragile {
    fn pause_producing(&self) {
        assert!(self.0 != "pause", "on purpose");
    }

    fn resume_producing(&self) {
        assert!(self.0 != "resume", "on purpose");
    }

    fn stop_producing(&self) {
        assert!(self.0 != "stop", "on purpose");
    }
}

/// Returns a check that the queue of `transport` has not changed since the last check.
fn at_rest(transport: &Transport) -> impl Fn() -> bool + 'static {
    let (transport, before) = (transport.clone(), Cell::new(usize::MAX));
    move || before.replace(transport.buffered()) == transport.buffered()
}

/// Returns a script that begins to read only after the other end has checked its queue.
fn reads_later() -> Script {
    Script::new().on_made(|transport| {
        transport.pause_producing();
        let later = transport.clone();
        transport.reactor().call_later(Duration::from_millis(20), move |_| later.resume_producing());
    })
}

specifications! {
    producers;

    fn a_paused_producer_can_release_a_hold_of_its_consumer(subject: &Subject) {
        // The connection settles again after each method of the producer, because the method may have changed it.
        let (reactor, log, server) = (subject.reactor(), Log::new(), Script::new());
        let calls = log.clone();
        let client = Script::new().on_made(move |transport| {
            let producer = Releases(calls.clone(), RefCell::new(Some(transport.hold_writing())));
            transport.set_watermarks(2, 1);
            transport.register_producer(Producer::push(Rc::new(producer))).unwrap();
            transport.write(b"held");
        });
        subject.join(&reactor, &server, &client);
        iterate_until(&reactor, || log.contains("resume") && !server.received().is_empty());
        assert_eq!(server.received(), b"held");
        log.expect(&["pause", "resume"]);
    }

    fn a_failed_write_stops_the_producer_before_the_last_data(subject: &Subject) {
        // IProducer.stopProducing: no later write of the producer is sent. The received data is delivered after that
        // call.
        struct Stops(Log);
        impl PushProducer for Stops {
            fn pause_producing(&self) {}

            fn resume_producing(&self) {}

            fn stop_producing(&self) {
                self.0.add("stop");
            }
        }
        let log = Log::new();
        let server = Script::logged(&log, "server").stop_when_lost();
        let producer = Rc::new(Stops(log.clone()));
        subject.after_a_reset(&subject.reactor(), &server, b"last", |end| {
            end.register_producer(Producer::push(producer)).unwrap();
            end.write(b"x");
            after_some_turns(&end.reactor(), move |reactor| {
                end.write(b"x");
                after_some_turns(reactor, move |_| end.resume_producing());
            });
        });
        log.expect(&["server made", "stop", "server data last", "server lost ConnectionLost"]);
    }

    fn a_forwarder_passes_on_data_that_came_before_a_failed_write(subject: &Subject) {
        // A server answers an upload early (413) and closes. The uploading client gets the answer through a forwarder.
        let (reactor, sent, fronts) = (subject.reactor(), noise(60_000, 16), Transports::new());
        let (front, client) = (Script::new().listed_in(&fronts), Script::new().stop_when_lost());
        subject.join(&reactor, &front, &client);
        let to = fronts.clone();
        let back = Script::new().on_data(move |_, data| to.first().write(data));
        subject.after_a_reset(&reactor, &back, &sent, move |end| {
            fronts.first().register_producer(end.clone()).unwrap();
            end.register_producer(fronts.first()).unwrap();
            end.write(b"x");
            after_some_turns(&end.reactor(), move |_| {
                end.write(b"x");
                end.resume_producing();
            });
        });
        assert_same_bytes(&client.received(), &sent);
    }

    fn a_push_producer_is_paused_above_the_high_mark(subject: &Subject) {
        // IPushProducer, IConsumer.registerProducer. The producer is resumed at the low mark. The marks are 64 and 32
        // KiB.
        let (reactor, log, kept) = (subject.reactor(), Log::new(), Rc::new(RefCell::new(None)));
        let (told, keep) = (log.clone(), kept.clone());
        let client = Script::new().on_made(move |transport| {
            let producer = Noting::new(&told, transport);
            transport.register_producer(Producer::push(producer.clone())).unwrap();
            transport.write(&noise(TOO_MUCH, 1));
            *keep.borrow_mut() = Some(producer);
        });
        let left = Cell::new(TOO_MUCH);
        let server = reads_later().on_data(move |transport, data| {
            left.set(left.get() - data.len());
            if left.get() == 0 {
                stop(&transport.reactor());
            }
        });
        subject.join(&reactor, &server, &client);
        run(&reactor);
        log.expect(&["pause", "resume", "stop"]);
        let kept = kept.borrow();
        let buffered = kept.as_ref().unwrap().buffered.borrow();
        assert!(buffered[0] > HIGH && buffered[1] <= LOW, "{buffered:?}");
    }

    fn a_push_producer_is_never_resumed_without_a_pause(subject: &Subject) {
        // IPushProducer.resumeProducing
        let log = Log::new();
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.register_producer(Producer::push(Noting::new(&told, transport))).unwrap();
            transport.write(b"little");
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(10), move |_| {
                later.unregister_producer();
                later.lose_connection();
            });
        });
        subject.converse(&Script::new(), &client);
        log.expect(&[]);
    }

    fn a_queue_at_exactly_the_high_mark_pauses_no_producer(subject: &Subject) {
        // IPushProducer.pauseProducing is called only above the mark, as in Twisted.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (told, full) = (log.clone(), Rc::new(Cell::new(false)));
        let was_full = full.clone();
        let client = Script::new().on_made(move |transport| {
            // Once the kernel takes no more, written data stays in the queue.
            transport.write(&noise(TOO_MUCH, 2));
            let (later, told, was_full) = (transport.clone(), told.clone(), was_full.clone());
            when(&transport.reactor(), at_rest(transport), move |reactor| {
                let queued = later.buffered();
                was_full.set(queued > 0);
                later.set_watermarks(queued + 10, 0);
                later.register_producer(Producer::push(Noting::new(&told, &later))).unwrap();
                later.write(&[0; 10]);
                let (last, order) = (later.clone(), told.clone());
                after_some_turns(reactor, move |reactor| {
                    order.add("one more");
                    last.write(&[0]);
                    when(reactor, move || order.contains("pause"), stop);
                });
            });
        });
        subject.join(&reactor, &Script::new().on_made(Transport::pause_producing), &client);
        run(&reactor);
        assert!(full.get());
        log.expect(&["one more", "pause", "stop"]);
    }

    fn the_watermarks_can_be_changed(subject: &Subject) {
        // Transport::set_watermarks. The low mark is capped at the high one.
        let (reactor, log) = (subject.reactor(), Log::new());
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.set_watermarks(TOO_MUCH, usize::MAX);
            transport.register_producer(Producer::push(Noting::new(&told, transport))).unwrap();
            transport.write(&noise(TOO_MUCH, 3));
        });
        let left = Cell::new(TOO_MUCH);
        let server = Script::new().on_data(move |transport, data| {
            left.set(left.get() - data.len());
            if left.get() == 0 {
                stop(&transport.reactor());
            }
        });
        subject.join(&reactor, &server, &client);
        run(&reactor);
        log.expect(&["stop"]);
    }

    fn an_obedient_producer_bounds_the_queue(subject: &Subject) {
        // 8 MB to a peer that reads late: never more than the high mark plus the writes of one callback.
        let (most, reader) = (Rc::new(Cell::new(0)), Transports::new());
        let server = Script::new().listed_in(&reader).on_made(Transport::pause_producing);
        let highest = most.clone();
        let client = Script::new().on_made(move |transport| {
            let eager = Rc::new(Eager {
                consumer: transport.clone(),
                left: Cell::new(TOO_MUCH / Eager::PIECE),
                paused: Cell::default(),
                scheduled: Cell::default(),
                most: highest.clone(),
                reader: reader.clone(),
            });
            transport.register_producer(Producer::push(Rc::new(EagerProducer(eager.clone())))).unwrap();
            eager.produce();
        });
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &vec![7; TOO_MUCH]);
        assert!(most.get() > HIGH, "the queue was never full");
        assert!(most.get() <= HIGH + 20 * Eager::PIECE, "{} bytes were queued", most.get());
    }

    fn a_producer_is_paused_after_the_callback_that_wrote(subject: &Subject) {
        // ITransport.write never calls user code back.
        let log = Log::new();
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.register_producer(Producer::push(Noting::new(&told, transport))).unwrap();
            transport.write(&noise(TOO_MUCH, 4));
            told.add("returned");
            let later = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| {
                later.unregister_producer();
                later.abort_connection();
            });
        });
        let reactor = subject.reactor();
        subject.join(&reactor, &Script::new().on_made(Transport::pause_producing), &client.stop_when_lost());
        run(&reactor);
        log.expect(&["returned", "pause"]);
    }

    fn a_producer_registered_with_a_full_queue_is_paused_at_once(subject: &Subject) {
        // IConsumer.registerProducer. Twisted waits for the next write; here the pause comes before the loop waits.
        let (reactor, log) = (subject.reactor(), Log::new());
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.write(&noise(TOO_MUCH, 5));
            let (later, told) = (transport.clone(), told.clone());
            transport.reactor().call_later(Duration::ZERO, move |reactor| {
                later.register_producer(Producer::push(Noting::new(&told, &later))).unwrap();
                reactor.call_later(Duration::ZERO, stop);
            });
        });
        subject.join(&reactor, &Script::new().on_made(Transport::pause_producing), &client);
        run(&reactor);
        log.expect(&["pause", "stop"]);
    }

    fn a_pull_producer_is_called_whenever_the_queue_is_empty(subject: &Subject) {
        // IPullProducer is called first at registration.
        let piece = noise(100_000, 6);
        let (server, sent) = (Script::slow_reader(), piece.repeat(10));
        let client = Script::new().on_made(move |transport| {
            let (consumer, left, piece) = (transport.clone(), Cell::new(10), piece.clone());
            transport.register_producer(Producer::pull(Rc::new(Pieces { consumer, left, piece }))).unwrap();
        });
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &sent);
    }

    fn a_pull_producer_of_single_bytes_completes(subject: &Subject) {
        // IPullProducer: data that it writes when called is sent without another event.
        let server = Script::new();
        let client = Script::new().on_made(|transport| {
            let (consumer, left, piece) = (transport.clone(), Cell::new(300), vec![b'x']);
            transport.register_producer(Producer::pull(Rc::new(Pieces { consumer, left, piece }))).unwrap();
        });
        subject.converse(&server, &client);
        assert_eq!(server.received(), [b'x'; 300]);
    }

    fn a_silent_pull_producer_is_called_again_after_a_drain(subject: &Subject) {
        // IPullProducer is called at registration, then once for each drained queue. Silence must not make the loop
        // spin.
        let (reactor, log) = (subject.reactor(), Log::new());
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.register_producer(Producer::pull(Noting::new(&told, transport))).unwrap();
            let (later, told) = (transport.clone(), told.clone());
            transport.reactor().call_later(Duration::from_millis(30), move |reactor| {
                told.add("write");
                later.write(b"x");
                when(reactor, move || told.count("resume") > 1, stop);
            });
        });
        subject.join(&reactor, &Script::new(), &client);
        let turns = crate::count_turns(&reactor);
        assert!(turns < 80, "{turns} turns in which there was nothing to do");
        log.expect(&["resume", "write", "resume", "stop"]);
    }

    fn registering_a_second_producer_is_an_error(subject: &Subject) {
        // IConsumer.registerProducer: a second producer gets a RuntimeError until the first producer has unregistered.
        let log = Log::new();
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            let producer = || Producer::push(Noting::new(&told, transport));
            transport.register_producer(producer()).unwrap();
            assert!(matches!(transport.register_producer(producer()), Err(Error::ProducerRegistered)));
            transport.unregister_producer();
            transport.unregister_producer();
            transport.register_producer(producer()).unwrap();
            transport.unregister_producer();
            transport.lose_connection();
        });
        subject.converse(&Script::new(), &client);
        log.expect(&[]);
    }

    fn registering_at_a_dead_connection_stops_the_producer(subject: &Subject) {
        // IConsumer.registerProducer: stopProducing is called at once, and no error is raised.
        let log = Log::new();
        let told = log.clone();
        let client = Script::new().on_made(Transport::lose_connection).on_lost(move |transport, _| {
            transport.register_producer(Producer::push(Noting::new(&told, transport))).unwrap();
            told.add("returned");
        });
        subject.converse(&Script::new(), &client);
        log.expect(&["stop", "returned"]);
    }

    fn a_producer_is_stopped_once_before_connection_lost(subject: &Subject) {
        // IProducer.stopProducing at the end of the connection.
        for end in [Transport::abort_connection, |transport: &Transport| transport.write(b"close")] {
            let log = Log::new();
            let (told, lost) = (log.clone(), log.clone());
            let client = Script::new()
                .on_made(move |transport| {
                    transport.register_producer(Producer::push(Noting::new(&told, transport))).unwrap();
                    end(transport);
                })
                .on_read_lost(Transport::abort_connection)
                .on_lost(move |_, _| lost.add("lost"));
            let reactor = subject.reactor();
            let server = Script::new().on_data(|transport, _| transport.lose_connection());
            subject.join(&reactor, &server, &client.stop_when_lost());
            run(&reactor);
            log.expect(&["stop", "lost"]);
        }
    }

    fn losing_a_connection_waits_for_its_producer(subject: &Subject) {
        // ITransport.loseConnection: "and wait for a producer to unregister". The producer's writes are still sent.
        let server = Script::new();
        let client = Script::new().on_made(|transport| {
            let producer = Noting::new(&Log::new(), transport);
            transport.register_producer(Producer::push(producer)).unwrap();
            transport.write(b"before, ");
            transport.lose_connection();
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(10), move |_| {
                assert!(later.is_connected());
                later.write(b"after");
                later.unregister_producer();
            });
        });
        subject.converse(&server, &client);
        assert_eq!(server.received(), b"before, after");
    }

    fn half_closing_waits_for_the_producer(subject: &Subject) {
        // ITCPTransport.loseWriteConnection: "as with loseConnection this will only happen when buffer has emptied and
        // there is no registered producer".
        let (server, piece) = (Script::new(), noise(100_000, 12));
        let sent = piece.repeat(10);
        let client = Script::new().on_made(move |transport| {
            let (consumer, left, piece) = (transport.clone(), Cell::new(10), piece.clone());
            transport.register_producer(Producer::pull(Rc::new(Pieces { consumer, left, piece }))).unwrap();
            transport.lose_write_connection();
        });
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &sent);
    }

    fn a_connection_can_be_the_producer_of_another(subject: &Subject) {
        // ITransport is an IPushProducer: a forwarder with a slow reader and a fast writer.
        let (sent, most) = (noise(TOO_MUCH, 7), Rc::new(Cell::new(0)));
        let (reactor, ends, readers) = (subject.reactor(), Countdown::new(1), Transports::new());
        let reader = Script::slow_reader().listed_in(&readers).on_made(Transport::pause_producing);
        let destination = subject.listen(&reactor, reader.clone().counted_by(&ends).factory());
        let (subject_again, highest) = (*subject, most.clone());
        let forwarder = Script::new().on_made(move |incoming| {
            incoming.pause_producing();
            let (from, highest, readers) = (incoming.clone(), highest.clone(), readers.clone());
            let outgoing = Script::new().on_made(move |to| {
                to.register_producer(from.clone()).unwrap();
                let (to, highest) = (to.clone(), highest.clone());
                from.switch_protocol(Box::new(forwards_to(to, highest)));
                from.resume_producing();
                reads_when_paused(&readers, &from);
            });
            subject_again.connect(&incoming.reactor(), &destination, outgoing.factory());
        });
        subject.join(&reactor, &forwarder, &Script::sends(sent.clone()));
        run(&reactor);
        assert_same_bytes(&reader.received(), &sent);
        assert!(most.get() > 0, "the forwarder never had to wait");
        assert!(most.get() <= HIGH + MOST_DELIVERED, "{} bytes were queued: a mark and a delivery are enough", most.get());
    }

    fn a_producer_connection_closes_with_its_consumer(subject: &Subject) {
        // ITransport.stopProducing is loseConnection.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (pair, ends) = (all.clone(), Countdown::new(2));
        let server = Script::logged(&log, "server").listed_in(&all).counted_by(&ends).on_made(move |consumer| {
            if let [producer, _] = &pair.all()[..] {
                consumer.register_producer(producer.clone()).unwrap();
                consumer.abort_connection();
            }
        });
        let port = subject.listen(&reactor, server.factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, Script::new().factory());
        }
        run(&reactor);
        log.expect(&["server made", "server made", "server lost ConnectionAborted", "server lost ConnectionDone"]);
    }

    fn a_closing_connection_waits_for_its_producer_connection(subject: &Subject) {
        // IConsumer.unregisterProducer is implied by the end of the producing connection.
        let (reactor, log, all) = (subject.reactor(), Log::new(), Transports::new());
        let (pair, ends) = (all.clone(), Countdown::new(2));
        let server = Script::logged(&log, "server").listed_in(&all).counted_by(&ends).on_made(move |consumer| {
            if let [producer, _] = &pair.all()[..] {
                consumer.register_producer(producer.clone()).unwrap();
                consumer.lose_connection();
                let producer = producer.clone();
                consumer.reactor().call_later(Duration::from_millis(1), move |_| producer.abort_connection());
            }
        });
        let port = subject.listen(&reactor, server.factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, Script::new().factory());
        }
        run(&reactor);
        log.expect(&["server made", "server made", "server lost ConnectionAborted", "server lost ConnectionDone"]);
    }

    fn a_forwarder_closes_both_sides_when_one_peer_closes(subject: &Subject) {
        // Twisted closes a connection at the end of its input, and `connectionLost` stops its producer. Here the
        // default `read_connection_lost` closes it. The second round has the classic proxy, which also closes the other
        // side.
        for closes_the_other in [false, true] {
            let (reactor, log, sides) = (subject.reactor(), Log::new(), Transports::new());
            let (told, all) = (log.clone(), sides.clone());
            let side = forwards_in_a_ring_of(2, &sides).on_lost(move |side, reason| {
                told.add(reason_name(reason));
                all.others(side).iter().filter(|_| closes_the_other).for_each(Transport::lose_connection);
            });
            let port = subject.listen(&reactor, side.factory());
            let (sent, target) = (noise(1_000_000, 17), Script::new());
            subject.connect(&reactor, &port, target.factory());
            subject.connect(&reactor, &port, Script::sends(sent.clone()).factory());
            run_and_expect(&reactor, &log, &["ConnectionDone", "ConnectionDone"]);
            assert_same_bytes(&target.received(), &sent);
        }
    }

    fn a_forwarder_closes_both_sides_when_one_is_closed(subject: &Subject) {
        // ITransport.loseConnection of a connection that is its producer's producer: each waits for the other.
        let (reactor, log, sides) = (subject.reactor(), Log::new(), Transports::new());
        let told = log.clone();
        let side = forwards_in_a_ring_of(2, &sides)
            .on_data(|side, _| side.lose_connection())
            .on_lost(move |_, reason| told.add(reason_name(reason)));
        let port = subject.listen(&reactor, side.factory());
        let target = Script::new();
        subject.connect(&reactor, &port, target.factory());
        subject.connect(&reactor, &port, Script::new().on_made(|client| client.write(b"last")).factory());
        run_and_expect(&reactor, &log, &["ConnectionDone", "ConnectionDone"]);
        assert_eq!(target.received(), b"last");
    }

    fn a_ring_of_producer_connections_closes_with_one_of_them(subject: &Subject) {
        // Each connection passes its data to the next one, and the next one is closed with it.
        let (reactor, log, sides) = (subject.reactor(), Log::new(), Transports::new());
        let (told, all) = (log.clone(), sides.clone());
        let side = forwards_in_a_ring_of(3, &sides).on_lost(move |side, reason| {
            told.add(reason_name(reason));
            next_in(&all, side).lose_connection();
        });
        let port = subject.listen(&reactor, side.factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, Script::new().factory());
        }
        subject.connect(&reactor, &port, Script::sends(b"last".to_vec()).factory());
        run_and_expect(&reactor, &log, &["ConnectionDone", "ConnectionDone", "ConnectionDone"]);
    }

    fn registering_a_producer_lets_a_closing_ring_close(subject: &Subject) {
        // The first side waits for the second one. From the second registration each waits for the other, so both
        // close.
        let (reactor, log, sides) = (subject.reactor(), Log::new(), Transports::new());
        let (told, all) = (log.clone(), sides.clone());
        let side = Script::new().listed_in(&sides).on_lost(move |_, reason| told.add(reason_name(reason)));
        let port = subject.listen(&reactor, side.factory());
        for _ in 0..2 {
            subject.connect(&reactor, &port, Script::new().factory());
        }
        when(&reactor, move || sides.all().len() == 2, move |reactor| {
            let [first, second] = &all.all()[..] else { panic!("there are two") };
            first.register_producer(second.clone()).unwrap();
            first.lose_connection();
            let (first, second) = (first.clone(), second.clone());
            after_some_turns(reactor, move |_| {
                assert!(first.is_connected());
                second.register_producer(first).unwrap();
            });
        });
        run_and_expect(&reactor, &log, &["ConnectionDone", "ConnectionDone"]);
    }

    fn a_connection_can_be_its_own_producer(subject: &Subject) {
        // This echo reads no more than it can send. The client sends 8 MB, and begins to read when all bytes are
        // written.
        let (sent, most) = (noise(TOO_MUCH, 8), Rc::new(Cell::new(0)));
        let (highest, received) = (most.clone(), Cell::new(0));
        let server = Script::new()
            .on_made(|transport| transport.register_producer(transport.clone()).unwrap())
            .on_data(move |transport, data| {
                transport.write(data);
                highest.set(highest.get().max(transport.buffered()));
            })
            .on_read_lost(|transport| {
                transport.unregister_producer();
                transport.lose_connection();
            });
        let bytes = sent.clone();
        let client = reads_later().on_made(move |transport| transport.write(&bytes)).on_data(move |transport, data| {
            received.set(received.get() + data.len());
            if received.get() == TOO_MUCH {
                transport.lose_connection();
            }
        });
        subject.converse(&server, &client);
        assert_same_bytes(&client.received(), &sent);
        assert!(most.get() <= HIGH + MOST_DELIVERED, "{} bytes were queued", most.get());
    }

    fn a_panic_in_a_producer_closes_only_its_connection(subject: &Subject) {
        // IPushProducer: an exception is logged and becomes the reason of connectionLost.
        for callback in ["pause", "resume", "stop"] {
            let log = Log::new();
            let told = log.clone();
            let client = Script::new()
                .on_made(move |transport| {
                    transport.register_producer(Producer::push(Rc::new(Fragile(callback)))).unwrap();
                    transport.write(&noise(TOO_MUCH, 9));
                })
                .on_lost(move |_, reason| told.add(reason_name(reason)));
            let left = Cell::new(TOO_MUCH);
            let server = reads_later().on_data(move |transport, data| {
                left.set(left.get() - data.len());
                if left.get() == 0 {
                    transport.lose_connection();
                }
            });
            let reactor = subject.plain_reactor();
            subject.join(&reactor, &server, &client.on_read_lost(Transport::abort_connection).stop_when_lost());
            run(&reactor);
            log.expect(&[if callback == "stop" { "ConnectionAborted" } else { "Panicked" }]);
        }
    }

    fn a_producer_callback_may_use_its_connection(subject: &Subject) {
        // Any callback may write, close or register a producer, on its own connection or on any other.
        struct Busy(Transport, Log);
        impl PushProducer for Busy {
            fn pause_producing(&self) {
                self.1.add("pause");
                self.0.unregister_producer();
                self.0.register_producer(Producer::push(Rc::new(Busy(self.0.clone(), self.1.clone())))).unwrap();
                self.0.unregister_producer();
                self.0.write(b"last");
                self.0.lose_connection();
            }
            fn resume_producing(&self) {
                self.1.add("resume");
            }
            fn stop_producing(&self) {
                self.1.add("stop");
            }
        }
        let (log, server) = (Log::new(), reads_later());
        let told = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.register_producer(Producer::push(Rc::new(Busy(transport.clone(), told.clone())))).unwrap();
            transport.write(&noise(TOO_MUCH, 10));
        });
        subject.converse(&server, &client);
        assert_eq!(server.received().len(), TOO_MUCH + 4);
        assert!(server.received().ends_with(b"last"));
        log.expect(&["pause"]);
    }

    fn data_a_producer_writes_to_another_connection_is_sent(subject: &Subject) {
        // The write is sent without another event, although no callback of that connection runs.
        struct Reports(Transport);
        impl PushProducer for Reports {
            fn pause_producing(&self) {
                self.0.write(b"paused");
            }
            fn resume_producing(&self) {}
            fn stop_producing(&self) {}
        }
        let (reactor, reports) = (subject.reactor(), Transports::new());
        let (found, subject_again) = (reports.clone(), *subject);
        let heard = Script::new().on_data(|transport, _| stop(&transport.reactor()));
        let busy = Script::new().on_made(move |transport| {
            transport.register_producer(Producer::push(Rc::new(Reports(found.first())))).unwrap();
            transport.write(&noise(TOO_MUCH, 11));
        });
        let deaf = Script::new().on_made(Transport::pause_producing);
        let reporter = Script::new().listed_in(&reports).on_made(move |transport| {
            subject_again.join(&transport.reactor(), &deaf, &busy);
        });
        subject.join(&reactor, &heard, &reporter);
        run(&reactor);
        assert_eq!(heard.received(), b"paused");
    }
}

/// One of `count` connections in a ring: each is the producer of the next one, and writes all data to it. They start to
/// read when all `count` are connected.
fn forwards_in_a_ring_of(count: usize, sides: &Transports) -> Script {
    let (ring, all) = (sides.clone(), sides.clone());
    let made = move |side: &Transport| {
        side.pause_producing();
        if ring.all().len() < count {
            return;
        }
        for side in ring.all() {
            next_in(&ring, &side).register_producer(side.clone()).unwrap();
            side.resume_producing();
        }
    };
    Script::new().listed_in(sides).on_made(made).on_data(move |side, data| next_in(&all, side).write(data))
}

fn next_in(sides: &Transports, side: &Transport) -> Transport {
    let all = sides.all();
    let place = all.iter().position(|one| one == side).expect("it is in the ring");
    all[(place + 1) % all.len()].clone()
}

/// Starts the readers when `writer` has been paused.
fn reads_when_paused(readers: &Transports, writer: &Transport) {
    let (readers, writer) = (readers.clone(), writer.clone());
    writer.reactor().call_later(Duration::from_millis(1), move |_| match writer.is_paused() {
        true => readers.all().iter().for_each(Transport::resume_producing),
        false => reads_when_paused(&readers, &writer),
    });
}

/// Writes all data it receives to another connection, and closes the other connection at the end.
fn forwards_to(to: Transport, most: Rc<Cell<usize>>) -> Script {
    let last = to.clone();
    Script::new()
        .on_data(move |_, data| {
            to.write(data);
            most.set(most.get().max(to.buffered()));
        })
        .on_read_lost(move |from| {
            last.unregister_producer();
            last.lose_connection();
            from.lose_connection();
        })
}
