//! Bytes on a connection over any kind of socket: ITransport, IProtocol, and reading as IPushProducer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk::Transport;
use ropewalk::transports::{Producer, PullProducer};

use crate::links::{Countdown, MOST_DELIVERED, Transports, assert_same_bytes, noise, pieces};
use crate::script::{Log, Script, stop};
use crate::waiting::{after_some_turns, run_until};
use crate::{count_turns, run, specifications};

/// Writes whenever it is called, without end.
struct Flood(Transport);

impl PullProducer for Flood {
    fn resume_producing(&self) {
        self.0.write(&[0; 64 * 1024]);
    }

    fn stop_producing(&self) {}
}

specifications! {
    streams;

    fn bytes_written_by_one_end_are_received_by_the_other(subject: &Subject) {
        // ITransport.write, IProtocol.dataReceived
        let client = Script::new()
            .on_made(|transport| transport.write(b"hello"))
            .on_data(|transport, _| transport.lose_connection());
        subject.converse(&Script::echo(), &client);
        assert_eq!(client.received(), b"hello");
    }

    fn is_reading_knows_each_reason_not_to_read(subject: &Subject) {
        // Transport::is_reading: IPushProducer, IHalfCloseableProtocol, and asyncio's ReadTransport.is_reading.
        let log = Log::new();
        let [made, ended, lost, closing] = std::array::from_fn(|_| {
            let log = log.clone();
            move |when: &str, transport: &Transport| log.add(format!("{when} {}", transport.is_reading()))
        });
        let server = Script::new()
            .on_made(move |transport| {
                made("made", transport);
                transport.pause_producing();
                made("paused", transport);
                transport.resume_producing();
                made("resumed", transport);
            })
            .on_read_lost(move |transport| {
                ended("the peer has ended", transport);
                transport.resume_producing();
                transport.lose_connection();
            })
            .on_lost(move |transport, _| lost("lost", transport));
        let client = Script::new().on_made(move |transport| {
            transport.lose_connection();
            closing("closing", transport);
        });
        subject.converse(&server, &client);
        let mut entries = log.entries();
        entries.sort();
        let expected =
            ["closing false", "lost false", "made true", "paused false", "resumed true", "the peer has ended false"];
        assert_eq!(entries, expected);
    }

    fn write_bytes_sends_nothing_within_the_call(subject: &Subject) {
        // Transport::write_bytes: the caller's stack never enters the system, whether a callback runs or not.
        let (reactor, counts) = subject.counted();
        let both = Countdown::new(2);
        let write_all = move |transport: &Transport| {
            // Nothing is queued before the first write, so `write` would send at once.
            for length in [100_000, 4096, 1024, 1023, 1] {
                let before = counts.now();
                transport.write_bytes(noise(length, 7));
                assert_eq!(counts.since(before).sends, 0, "{length} bytes");
            }
        };
        let later = write_all.clone();
        let client = Script::new().counted_by(&both).on_made(move |transport| {
            write_all(transport);
            let (transport, later) = (transport.clone(), later.clone());
            transport.reactor().call_later(Duration::from_millis(5), move |_| {
                later(&transport);
                transport.lose_connection();
            });
        });
        let server = Script::new().counted_by(&both);
        subject.join(&reactor, &server, &client);
        run(&reactor);
        let once = [100_000, 4096, 1024, 1023, 1].map(|length| noise(length, 7)).concat();
        assert_same_bytes(&server.received(), &[once.clone(), once].concat());
    }

    fn written_memory_is_dropped_once_it_is_sent(subject: &Subject) {
        // Transport::write_bytes queues memory of any kind without a copy. The peer does not read at first.
        let (reactor, clients) = (subject.reactor(), Transports::new());
        let memory = Arc::new(noise(8_000_000, 8));
        let (written, seen) = (memory.clone(), memory.clone());
        let client = Script::new().listed_in(&clients).on_made(move |transport| {
            transport.write_bytes(Bytes::from_owner(Shared(written.clone())));
        });
        let server = Script::new().on_made(|transport| {
            transport.pause_producing();
            let later = transport.clone();
            after_some_turns(&transport.reactor(), move |_| later.resume_producing());
        });
        subject.join(&reactor, &server, &client);
        let (sender, receiver) = (clients.clone(), server.clone());
        let owners = Arc::strong_count(&memory);
        run_until(&reactor, move || {
            // One owner more than without the write.
            let is_queued = sender.all().iter().any(|client| client.buffered() > 0);
            assert!(Arc::strong_count(&seen) == owners + usize::from(is_queued) || !is_queued);
            receiver.received().len() == seen.len()
        });
        assert_eq!(Arc::strong_count(&memory), owners - 1, "only `memory` and the script are left");
        assert_same_bytes(&server.received(), &memory);
    }

    fn connection_lost_is_the_last_callback(subject: &Subject) {
        // IProtocol: connectionMade, dataReceived, connectionLost.
        let log = Log::new();
        subject.converse(&Script::logged(&log, "server"), &Script::sends(b"bye".to_vec()));
        log.expect(&["server made", "server data bye", "server read lost", "server lost ConnectionDone"]);
    }

    fn all_kinds_of_writes_arrive_in_order(subject: &Subject) {
        // ITransport.write, writeSequence. A large write on an empty queue takes another path than a small one.
        let (small, large) = (noise(100, 1), noise(100_000, 2));
        let expected = [&large[..], &small, &large, &small, &large, &small, &small, &large].concat();
        let client = Script::new().on_made(move |transport| {
            transport.write(&large);
            transport.write(&small);
            transport.write_bytes(Bytes::from(large.clone()));
            transport.write_bytes(Bytes::from(small.clone()));
            transport.write(&large);
            transport.write_sequence([&small[..], &[], &small, &large]);
            transport.lose_connection();
        });
        let server = Script::new();
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &expected);
    }

    fn chunks_of_all_sizes_arrive_in_order(subject: &Subject) {
        // ITransport.write, with chunks that the writer does not keep.
        let (small, large) = (noise(100, 1), noise(300_000, 2));
        let expected = [&small[..], &large, &large[..4096], &small, &large, &large].concat();
        let client = Script::new().on_made(move |transport| {
            transport.write(&small);
            transport.write_bytes(Bytes::from(large.clone()));
            transport.write_bytes(Bytes::copy_from_slice(&large[..4096]));
            transport.write(&small);
            transport.write(&large);
            transport.write_bytes(Bytes::from(large.clone()));
            transport.lose_connection();
        });
        let server = Script::new();
        subject.converse(&server, &client);
        assert_same_bytes(&server.received(), &expected);
    }

    fn an_empty_write_sends_nothing(subject: &Subject) {
        // ITransport.write
        let log = Log::new();
        let client = Script::new().on_made(|transport| {
            transport.write(b"");
            transport.write_bytes(Bytes::new());
            transport.write_sequence::<[&[u8]; 0]>([]);
            assert_eq!(transport.buffered(), 0);
            transport.lose_connection();
        });
        subject.converse(&Script::logged(&log, "server"), &client);
        log.expect(&["server made", "server read lost", "server lost ConnectionDone"]);
    }

    fn ten_megabytes_arrive_in_both_directions_at_once(subject: &Subject) {
        // ITransport.write: each byte once and in order, however the stream is cut.
        let (there, back) = (noise(10_000_000, 3), noise(10_000_000, 4));
        let sends = |bytes: &[u8], longest, finished: &Countdown| {
            let (pieces, length, finished) = (pieces(bytes, longest), bytes.len(), finished.clone());
            let left = Cell::new(length);
            Script::new()
                .on_made(move |transport| transport.write_sequence(&pieces))
                .on_data(move |transport, data| {
                    left.set(left.get() - data.len());
                    if left.get() == 0 {
                        finished.count(&transport.reactor());
                    }
                })
        };
        let (reactor, finished) = (subject.reactor(), Countdown::new(2));
        let (server, client) = (sends(&back, 60_000, &finished), sends(&there, 3000, &finished));
        subject.join(&reactor, &server, &client);
        run(&reactor);
        assert_same_bytes(&server.received(), &there);
        assert_same_bytes(&client.received(), &back);
    }

    fn a_delivery_is_never_empty_or_larger_than_128_kib(subject: &Subject) {
        // IProtocol.dataReceived. The receive buffer is the upper bound.
        let server = Script::new().on_data(|_, data| assert!((1..=MOST_DELIVERED).contains(&data.len())));
        subject.converse(&server, &Script::sends(noise(1_000_000, 5)));
        assert_eq!(server.received().len(), 1_000_000);
    }

    fn a_write_calls_no_protocol_before_it_returns(subject: &Subject) {
        // ITransport.write: a response cannot arrive while write() is on the stack (Twisted #3302).
        let log = Log::new();
        let (written, heard) = (log.clone(), log.clone());
        let client = Script::new()
            .on_made(move |transport| {
                for size in [1, 100_000] {
                    transport.write(&vec![0; size]);
                    written.add("written");
                }
            })
            .on_data(move |transport, _| {
                heard.add("heard");
                transport.lose_connection();
            });
        subject.converse(&Script::echo(), &client);
        log.expect(&["written", "written", "heard"]);
    }

    fn data_written_in_a_delayed_call_is_sent_at_once(subject: &Subject) {
        // A write outside any callback of its connection is sent before the loop waits.
        let client = Script::new()
            .on_made(|transport| {
                let later = transport.clone();
                transport.reactor().call_later(Duration::from_millis(1), move |_| later.write(b"late"));
            })
            .on_data(|transport, _| transport.lose_connection());
        subject.converse(&Script::echo(), &client);
        assert_eq!(client.received(), b"late");
    }

    fn data_written_in_a_thread_call_is_sent_at_once(subject: &Subject) {
        // A write outside any callback of its connection is sent before the loop waits.
        let client = Script::new()
            .on_made(|transport| {
                let later = transport.clone();
                transport.reactor().call_later(Duration::ZERO, move |_| {
                    let reactor = later.reactor();
                    FOUND.set(Some(later));
                    reactor.call_from_thread(|_| {
                        let transport = FOUND.take().expect("it was put there");
                        transport.write(b"from a thread");
                    });
                });
            })
            .on_data(|transport, _| transport.lose_connection());
        subject.converse(&Script::echo(), &client);
        assert_eq!(client.received(), b"from a thread");
    }

    fn data_written_to_another_connection_is_sent_at_once(subject: &Subject) {
        // A chat writes to all other connections. The data is sent before the loop waits.
        let (reactor, everybody) = (subject.reactor(), Transports::new());
        let room = everybody.clone();
        let server = Script::new().listed_in(&everybody).on_data(move |transport, data| {
            room.others(transport).iter().for_each(|other| other.write(data));
        });
        let port = subject.listen(&reactor, server.factory());
        let listener = Script::new().on_data(|transport, _| stop(&transport.reactor()));
        let (next, talker) = (port.clone(), Script::new().on_made(|transport| transport.write(b"hello all")));
        let subject = *subject;
        let first = listener.clone().on_made(move |transport| {
            subject.connect(&transport.reactor(), &next, talker.factory());
        });
        subject.connect(&reactor, &port, first.factory());
        run(&reactor);
        assert_eq!(listener.received(), b"hello all");
    }

    fn every_callback_before_the_end_may_write(subject: &Subject) {
        // IProtocol: connectionMade, dataReceived and readConnectionLost may write.
        let server = Script::new()
            .on_made(|transport| transport.write(b"made "))
            .on_data(|transport, _| transport.write(b"data "))
            .on_read_lost(|transport| {
                transport.write(b"read lost");
                transport.lose_connection();
            })
            .on_lost(|transport, _| transport.write(b"never sent"));
        let client = Script::new().on_made(|transport| {
            transport.write(b"x");
            transport.lose_write_connection();
        });
        subject.converse(&server, &client);
        assert_eq!(client.received(), b"made data read lost");
    }

    fn the_queue_length_is_reported(subject: &Subject) {
        // Transport::buffered
        let (reactor, most) = (subject.reactor(), Rc::new(Cell::new(0)));
        let writer = Transports::new();
        let (seen, length) = (most.clone(), 8_000_000);
        let client = Script::new().listed_in(&writer).on_made(move |transport| {
            transport.write(&vec![0; length]);
            seen.set(transport.buffered());
            assert!(transport.buffered() <= length);
        });
        let (sender, left) = (writer.clone(), Cell::new(length));
        let server = Script::new().on_data(move |transport, data| {
            left.set(left.get() - data.len());
            if left.get() == 0 {
                assert_eq!(sender.first().buffered(), 0);
                stop(&transport.reactor());
            }
        });
        subject.join(&reactor, &server, &client);
        run(&reactor);
        assert!(most.get() > 0, "8 MB fit into no kernel's buffer");
    }

    fn reading_paused_in_connection_made_starts_with_resume(subject: &Subject) {
        // IPushProducer.pauseProducing: a paused transport delivers no data, and drops none.
        let log = Log::new();
        let resumed = log.clone();
        let server = Script::logged(&log, "server").on_made(move |transport| {
            transport.pause_producing();
            assert!(transport.is_paused());
            let (later, resumed) = (transport.clone(), resumed.clone());
            transport.reactor().call_later(Duration::from_millis(20), move |_| {
                resumed.add("resumed");
                later.resume_producing();
                assert!(!later.is_paused());
            });
        });
        subject.converse(&server, &Script::sends(b"early".to_vec()));
        log.expect(&["server made", "resumed", "server data early", "server read lost", "server lost ConnectionDone"]);
    }

    fn pausing_in_a_delivery_holds_the_rest_until_resume(subject: &Subject) {
        // IPushProducer: a pause between two deliveries, with and without a turn in between.
        let sent = noise(2_000_000, 6);
        let (paused, slow) = (Rc::new(Cell::new(false)), Script::slow_reader());
        let (before, after) = (paused.clone(), paused.clone());
        let server = slow.on_data(move |transport, _| {
            assert!(!before.replace(true), "delivered while paused");
            let later = after.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| later.set(false));
        });
        subject.converse(&server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.received(), &sent);
    }

    fn pausing_then_resuming_in_one_callback_has_no_effect(subject: &Subject) {
        // IPushProducer
        let sent = noise(500_000, 7);
        let server = Script::new().on_data(|transport, _| {
            transport.pause_producing();
            transport.pause_producing();
            transport.resume_producing();
        });
        subject.converse(&server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.received(), &sent);
    }

    fn a_paused_connection_still_sends(subject: &Subject) {
        // IPushProducer concerns reading only.
        let sent = noise(1_000_000, 8);
        let bytes = sent.clone();
        let server = Script::new().on_made(move |transport| {
            transport.pause_producing();
            transport.write(&bytes);
        });
        let client = Script::new();
        let (reactor, left) = (subject.reactor(), Cell::new(sent.len()));
        let reader = client.clone().on_data(move |transport, data| {
            left.set(left.get() - data.len());
            if left.get() == 0 {
                stop(&transport.reactor());
            }
        });
        subject.join(&reactor, &server, &reader);
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
    }

    fn the_loop_sleeps_while_a_paused_connection_has_hung_up(subject: &Subject) {
        // poll(2) reports POLLHUP unasked. This report must not wake the loop again and again.
        let (reactor, servers) = (subject.reactor(), Transports::new());
        let server = Script::new().listed_in(&servers).on_made(|transport| {
            transport.pause_producing();
            transport.reactor().call_later(Duration::from_millis(60), stop);
        });
        subject.join(&reactor, &server, &Script::sends(b"unread".to_vec()));
        let turns = count_turns(&reactor);
        assert!(turns < 30, "{turns} turns in which there was nothing to do");
        assert_eq!(servers.all().len(), 1);
    }

    fn unread_bytes_are_delivered_before_newer_ones(subject: &Subject) {
        // Transport::unread
        let server = Script::new();
        let given_back = Cell::new(false);
        let giver = server.clone().on_data(move |transport, data| {
            if !given_back.replace(true) {
                transport.unread(data);
                transport.write(b"more");
            }
        });
        let client = Script::new().on_made(|transport| transport.write(b"first ")).on_data(|transport, _| {
            transport.write(b"second");
            transport.lose_connection();
        });
        subject.converse(&giver, &client);
        assert_eq!(server.received(), b"first first second");
    }

    fn data_that_arrives_during_repeated_unreads_follows_them(subject: &Subject) {
        // Transport::unread. An edge-triggered provider reports the data once, in a turn that may be over by then.
        let server = Script::new().on_data({
            let taken = Cell::new(0);
            move |transport, data| {
                taken.set(taken.get() + 1);
                transport.unread(&data[1..]);
                match taken.get() {
                    1 => transport.write(b"more"),
                    201 => transport.lose_connection(),
                    _ => {}
                }
            }
        });
        let client = Script::new().on_made(|transport| transport.write(&[1; 200])).on_data(|transport, _| {
            transport.write(b"x");
        });
        subject.converse(&server, &client);
        assert_eq!(server.received().last(), Some(&b'x'));
    }

    fn forwarded_chunks_stay_unchanged(subject: &Subject) {
        // Protocol::chunk_received, on providers that lend their receive buffers. The protocol also keeps the chunks.
        const MESSAGE: usize = 2000;
        let (reactor, kept) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        let keeper = kept.clone();
        let port = subject.listen(&reactor, move || Keeper(keeper.clone()));
        let sent = noise(100 * MESSAGE, 3);
        let (messages, answered) = (sent.clone(), Cell::new(0));
        let client = Script::new()
            .on_made({
                let first = sent[..MESSAGE].to_vec();
                move |transport| transport.write(&first)
            })
            .on_data(move |transport, data| {
                answered.set(answered.get() + data.len());
                match answered.get() {
                    all if all == messages.len() => transport.lose_connection(),
                    whole if whole % MESSAGE == 0 => transport.write(&messages[whole..whole + MESSAGE]),
                    _ => {}
                }
            })
            .stop_when_lost();
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
        assert_same_bytes(&kept.borrow().concat(), &sent);
    }

    fn a_busy_connection_starves_no_other_source(subject: &Subject) {
        // Each source gets a bounded amount of work in each turn. The flood ends with the test.
        let (reactor, flooded) = (subject.reactor(), Rc::new(Cell::new(0_usize)));
        let flood = Script::new().on_made(|transport| {
            let producer = Producer::pull(Rc::new(Flood(transport.clone())));
            transport.register_producer(producer).unwrap();
        });
        let (bytes, before) = (flooded.clone(), flooded.clone());
        let drain = Drain(bytes);
        let port = subject.listen(&reactor, move || Drain(drain.0.clone()));
        subject.connect(&reactor, &port, flood.factory());

        let finished = Countdown::new(2);
        let (trips, last, quiet) = (Cell::new(0), Cell::new(0), finished.clone());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, data| {
            trips.set(trips.get() + 1);
            let between = before.get() - last.replace(before.get());
            assert!(between <= 16 << 20, "{between} bytes of the flood between two bytes of the quiet connection");
            match trips.get() {
                200 => quiet.count(&transport.reactor()),
                _ => transport.write(data),
            }
        });
        subject.join(&reactor, &Script::echo(), &client);
        let left = Rc::new(Cell::new(200));
        tick(&reactor, left, finished);
        run(&reactor);
        assert!(flooded.get() > 0);
    }
}

thread_local! {
    /// Passes a value to a closure that may cross threads but runs on the loop's thread.
    static FOUND: RefCell<Option<Transport>> = const { RefCell::new(None) };
}

/// Memory that has other owners as well.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Counts the bytes it receives, and drops them.
struct Drain(Rc<Cell<usize>>);

impl ropewalk::Protocol for Drain {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.set(self.0.get() + data.len());
    }
}

/// Sends all chunks back, and keeps them.
struct Keeper(Rc<RefCell<Vec<Bytes>>>);

impl ropewalk::Protocol for Keeper {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.chunk_received(transport, Bytes::copy_from_slice(data));
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.0.borrow_mut().push(chunk.clone());
        transport.write_bytes(chunk);
    }
}

/// Schedules itself `left` times.
fn tick(reactor: &ropewalk::Reactor, left: Rc<Cell<u32>>, finished: Countdown) {
    reactor.call_later(Duration::ZERO, move |reactor| match left.replace(left.get() - 1) {
        1 => finished.count(reactor),
        _ => tick(reactor, left, finished),
    });
}
