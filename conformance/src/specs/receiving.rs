//! Receiving into the protocol's own memory, and the read size: BufferedProtocol, Transport::set_read_size.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk::protocols::{BufferedProtocol, FileDescriptorReceiver};
use ropewalk::{Error, Protocol, Transport};

use crate::links::{Countdown, assert_same_bytes, noise};
use crate::scrambler::Scrambler;
use crate::script::{Log, Script, reason_name};
use crate::waiting::run_until;
use crate::{Subject, run, specifications};

const MINUTE: Duration = Duration::from_secs(60);

/// A script that receives into memory of its own, except while `is_off`.
#[derive(Clone)]
struct Buffered {
    script: Script,
    memory: Vec<u8>,
    is_off: Rc<Cell<bool>>,
    /// The number of bytes of each delivery, and whether they came into the memory.
    deliveries: Rc<RefCell<Vec<(usize, bool)>>>,
}

impl Buffered {
    fn new(script: Script, size: usize) -> Buffered {
        Buffered { script, memory: vec![0; size], is_off: Rc::default(), deliveries: Rc::default() }
    }

    fn factory(&self) -> impl Fn() -> Buffered + use<> {
        let buffered = self.clone();
        move || buffered.clone()
    }

    fn largest(&self) -> usize {
        self.deliveries.borrow().iter().map(|(count, _)| *count).max().unwrap_or(0)
    }

    /// Whether all bytes came into the memory.
    fn is_filled(&self) -> bool {
        self.deliveries.borrow().iter().all(|(_, into_memory)| *into_memory)
    }
}

impl Protocol for Buffered {
    fn connection_made(&mut self, transport: &Transport) {
        self.script.connection_made(transport);
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.script.layer_opened(transport);
    }

    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        if self.is_off.get() { None } else { Some(self) }
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        self.script.file_descriptor_receiver()
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.deliveries.borrow_mut().push((data.len(), false));
        self.script.data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.data_received(transport, &chunk);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.script.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.script.write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.script.connection_lost(transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.script.log_prefix()
    }
}

impl BufferedProtocol for Buffered {
    fn buffer(&mut self, _transport: &Transport) -> &mut [u8] {
        &mut self.memory
    }

    fn buffer_filled(&mut self, transport: &Transport, count: usize) {
        self.deliveries.borrow_mut().push((count, true));
        self.script.data_received(transport, &self.memory[..count]);
    }
}

/// Connects `client` to `server`, and runs until both connections are lost.
fn converse(subject: &Subject, server: &mut Buffered, client: &Script) {
    let (reactor, both) = (subject.reactor(), Countdown::new(2));
    server.script = server.script.clone().counted_by(&both);
    let port = subject.listen(&reactor, server.factory());
    subject.connect(&reactor, &port, client.clone().counted_by(&both).factory());
    run(&reactor);
}

specifications! {
    receiving;

    fn a_buffered_protocol_receives_into_its_own_memory(subject: &Subject) {
        // asyncio: BufferedProtocol. Its memory may be smaller or larger than what arrives.
        for (size, length) in [(1, 300), (1000, 300_000), (300_000, 3_000_000)] {
            let sent = noise(length, 1);
            let mut server = Buffered::new(Script::new(), size);
            converse(subject, &mut server, &Script::sends(sent.clone()));
            assert_same_bytes(&server.script.received(), &sent);
            assert!(server.is_filled() && server.largest() <= size);
        }
    }

    fn the_provider_receives_into_the_protocols_memory(subject: &Subject) {
        // BufferedProtocol: no copy above the seam.
        let ((reactor, counts), both) = (subject.counted(), Countdown::new(2));
        let (address, seen) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (expected, found) = (address.clone(), seen.clone());
        let script = Script::new().counted_by(&both).on_data(move |_, data| {
            expected.set(data.as_ptr() as u64);
            found.set(counts.last_memory());
        });
        let server = Buffered::new(script, 1000);
        let port = subject.listen(&reactor, server.factory());
        let client = Script::sends(noise(100, 2)).counted_by(&both);
        subject.connect(&reactor, &port, client.factory());
        run(&reactor);
        assert_eq!(address.get(), seen.get());
    }

    fn an_echo_into_memory_is_whole(subject: &Subject) {
        // A reply that is written in buffer_filled leaves as one that is written in data_received.
        let sent = noise(500_000, 3);
        let mut server = Buffered::new(Script::echo(), 5000);
        let (bytes, expected) = (sent.clone(), sent.len());
        let got = Cell::new(0);
        let client = Script::new().on_made(move |transport| transport.write(&bytes)).on_data(move |transport, data| {
            got.set(got.get() + data.len());
            if got.get() == expected {
                transport.lose_connection();
            }
        });
        converse(subject, &mut server, &client);
        assert_same_bytes(&client.received(), &sent);
    }

    fn a_buffered_protocol_may_have_no_memory_for_a_while(subject: &Subject) {
        // Protocol::buffered: a header by data_received, the body into memory, and the next header.
        let sent = noise(100_000, 4);
        let script = Script::new().on_made(|transport| transport.set_read_size(700));
        let mut server = Buffered::new(script, 700);
        let is_off = server.is_off.clone();
        server.script = server.script.on_data(move |_, _| is_off.set(!is_off.get()));
        converse(subject, &mut server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.script.received(), &sent);
        let kinds: Vec<bool> = server.deliveries.borrow().iter().map(|(_, into_memory)| *into_memory).collect();
        assert!(kinds.len() > 2 && kinds.windows(2).all(|pair| pair[0] != pair[1]), "they alternate: {kinds:?}");
    }

    fn a_paused_buffered_protocol_gets_nothing(subject: &Subject) {
        // IPushProducer.pauseProducing within buffer_filled.
        let sent = noise(200_000, 5);
        let script = Script::slow_reader().on_data(|transport, _| assert!(!transport.is_reading()));
        let mut server = Buffered::new(script, 3000);
        converse(subject, &mut server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.script.received(), &sent);
    }

    fn given_back_bytes_come_into_the_memory(subject: &Subject) {
        // Transport::unread: bytes that were given back precede newer ones, and come piece by piece.
        let sent = noise(3000, 6);
        let gives_back = Cell::new(true);
        let script = Script::new().on_data(move |transport, data| {
            if gives_back.replace(!gives_back.get()) {
                transport.unread(data);
            }
        });
        let mut server = Buffered::new(script, 100);
        let client = Script::new().on_made({
            let sent = sent.clone();
            move |transport| {
                transport.write(&sent);
                transport.lose_write_connection();
            }
        });
        converse(subject, &mut server, &client);
        // Every second delivery was taken.
        let deliveries = server.deliveries.borrow();
        let (all, mut place) = (server.script.received(), 0);
        let mut taken = Vec::new();
        for (index, (count, _)) in deliveries.iter().enumerate() {
            if index % 2 == 1 {
                taken.extend_from_slice(&all[place..place + count]);
            }
            place += count;
        }
        assert_same_bytes(&taken, &sent);
        assert!(server.is_filled());
    }

    fn protocols_with_memory_may_be_switched(subject: &Subject) {
        // Transport::switch_protocol: each protocol gets its bytes in its own way.
        let reactor = subject.reactor();
        let (first, last) = (Script::new(), Script::new());
        let mut middle = Buffered::new(Script::new(), 10);
        let successor = last.clone();
        middle.script = middle.script.on_data(move |transport, _| {
            transport.write(b"2");
            transport.switch_protocol(Box::new(successor.clone()));
        });
        let successor = middle.clone();
        let begin = first.clone().on_data(move |transport, _| {
            transport.write(b"1");
            transport.switch_protocol(Box::new(successor.clone()));
        });
        let asks = Cell::new(0);
        let client = Script::new().on_made(|transport| transport.write(b"one")).on_data(move |transport, _| {
            asks.set(asks.get() + 1);
            transport.write(if asks.get() == 1 { b"two" } else { b"and" });
        });
        let port = subject.listen(&reactor, begin.factory());
        subject.connect(&reactor, &port, client.factory());
        let seen = last.clone();
        run_until(&reactor, move || seen.received() == b"and");
        assert_eq!((first.received(), last.received()), (b"one".to_vec(), b"and".to_vec()));
        assert_eq!((middle.script.received(), middle.deliveries.take()), (b"two".to_vec(), vec![(3, true)]));
    }

    fn bytes_of_a_layer_come_into_the_memory(subject: &Subject) {
        // Transport::start_layer, BufferedProtocol
        let start = |transport: &Transport| transport.start_layer(Scrambler::new(), MINUTE).unwrap();
        let sent = noise(100_000, 7);
        let mut server = Buffered::new(Script::new().on_made(start), 900);
        let bytes = sent.clone();
        let client = Script::new().on_made(start).on_opened(move |transport| {
            transport.write(&bytes);
            transport.lose_connection();
        });
        converse(subject, &mut server, &client);
        assert_same_bytes(&server.script.received(), &sent);
        assert!(server.is_filled() && server.largest() <= 900);
    }

    fn an_empty_memory_is_a_panic_of_the_protocol(subject: &Subject) {
        // BufferedProtocol::buffer. Receiving nothing would look like the end of the stream.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let told = log.clone();
        let script = Script::new().on_lost(move |_, reason| told.add(reason_name(reason))).stop_when_lost();
        let port = subject.listen(&reactor, Buffered::new(script, 0).factory());
        subject.connect(&reactor, &port, Script::new().on_made(|transport| transport.write(b"x")).factory());
        run(&reactor);
        log.expect(&["Panicked"]);
    }

    fn the_read_size_bounds_each_delivery(subject: &Subject) {
        // Transport::set_read_size, FileDescriptor.bufferSize: into shared memory, and into the protocol's.
        for (is_off, size) in [(true, 1000), (false, 1000), (true, 1), (true, 10_000_000)] {
            let sent = noise(if size == 1 { 500 } else { 200_000 }, 8);
            let script = Script::new().on_made(move |transport| transport.set_read_size(size));
            let mut server = Buffered::new(script, 5000);
            server.is_off.set(is_off);
            converse(subject, &mut server, &Script::sends(sent.clone()));
            assert_same_bytes(&server.script.received(), &sent);
            assert!(server.largest() <= size.min(crate::links::MOST_DELIVERED));
        }
    }

    fn the_read_size_bounds_bytes_that_are_here_already(subject: &Subject) {
        // Transport::set_read_size for given back bytes and for those of a layer.
        let start = |transport: &Transport| {
            transport.start_layer(Scrambler::new(), MINUTE).unwrap();
            transport.set_read_size(300);
        };
        let (sent, is_first) = (noise(50_000, 9), Cell::new(true));
        let script = Script::new().on_made(start).on_data(move |transport, _| {
            if is_first.replace(false) {
                transport.unread(&[b'x'; 1000]);
            }
        });
        let mut server = Buffered::new(script, 1);
        server.is_off.set(true);
        let bytes = sent.clone();
        let client = Script::new().on_made(start).on_opened(move |transport| {
            transport.write(&bytes);
            transport.lose_connection();
        });
        converse(subject, &mut server, &client);
        let first = server.deliveries.borrow()[0].0;
        let expected = [&sent[..first], &[b'x'; 1000], &sent[first..]].concat();
        assert_same_bytes(&server.script.received(), &expected);
        assert!(server.largest() <= 300);
    }

    fn the_read_size_takes_effect_at_once(subject: &Subject) {
        // Transport::set_read_size in data_received. The rest of the bytes comes in the new size.
        let sent = noise(20_000, 10);
        let script = Script::new().on_data(|transport, _| transport.set_read_size(10));
        let mut server = Buffered::new(script, 5000);
        converse(subject, &mut server, &Script::sends(sent.clone()));
        assert_same_bytes(&server.script.received(), &sent);
        assert!(server.deliveries.borrow().iter().skip(1).all(|(count, _)| *count <= 10));
    }
}
