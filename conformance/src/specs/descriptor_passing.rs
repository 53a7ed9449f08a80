//! IUNIXTransport.sendFileDescriptor, IFileDescriptorReceiver: descriptors that UNIX connections carry.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Error, Reactor, Transport};
use rustix::io::{FdFlags, fcntl_getfd};

use crate::links::{Transports, assert_same_bytes, noise};
use crate::passed::{Closed, Labelled, MOST, Taker, assert_refused, connected, connected_to, label_of, pass};
use crate::scrambler::Scrambler;
use crate::script::{Log, Script};
use crate::specifications;
use crate::waiting::iterate_until;

const LIMIT: Duration = Duration::from_secs(10);

/// A number of bytes that exceeds the socket buffers of both ends together.
const TOO_MUCH: usize = 8_000_000;

/// Turns the loop until the log has as many events as expected, and some turns more. Fails unless the log has exactly
/// the expected events.
#[track_caller]
fn settle_and_expect(reactor: &Reactor, log: &Log, expected: &[&str]) {
    iterate_until(reactor, || log.entries().len() >= expected.len());
    log.expect(expected);
}

fn all_closed(descriptors: &[Closed]) -> bool {
    descriptors.iter().all(Closed::is_closed)
}

specifications! {
    descriptor_passing;

    fn descriptors_arrive_in_order_before_their_bytes(subject: &Subject) {
        // IFileDescriptorReceiver.fileDescriptorReceived
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, peer) = Taker::logged(&log, "server").connected(&reactor);
        let (descriptors, copies) = Labelled::all(['a', 'b', 'c']);
        peer.pass(b"three", &descriptors);
        drop(descriptors);
        settle_and_expect(&reactor, &log, &["server made", "server got a", "server got b", "server got c", "server data three"]);
        assert!(all_closed(&copies) && transport.is_connected());
    }

    fn a_protocol_without_a_receiver_has_them_closed(subject: &Subject) {
        // unix._SendmsgMixin: descriptors that the protocol does not want are closed.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_transport, peer) = connected(&reactor, &Script::logged(&log, "server").factory());
        let (descriptors, copies) = Labelled::all(['a', 'b', 'c']);
        peer.pass(b"three", &descriptors);
        drop(descriptors);
        settle_and_expect(&reactor, &log, &["server made", "server data three"]);
        assert!(all_closed(&copies));
    }

    fn descriptors_keep_their_place_while_reading_pauses(subject: &Subject) {
        // unix(7): the system joins plain bytes with the message that follows, so no descriptor comes later than its
        // byte.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, peer) = Taker::logged(&log, "server").connected(&reactor);
        transport.pause_producing();
        let ([b, d], copies) = Labelled::all(['b', 'd']);
        peer.write(b"AA");
        peer.pass(b"B", &[b]);
        peer.write(b"CC");
        peer.pass(b"D", &[d]);
        iterate_until(&reactor, || true);
        log.expect(&["server made"]);
        transport.resume_producing();
        settle_and_expect(&reactor, &log, &["server made", "server got b", "server data AAB", "server got d", "server data CCD"]);
        assert!(all_closed(&copies));
    }

    fn a_sent_descriptor_travels_with_the_next_byte(subject: &Subject) {
        // IUNIXTransport.sendFileDescriptor
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, peer) = connected(&reactor, &Script::logged(&log, "server").factory());
        transport.write(b"AA");
        let b = pass(&transport, 'b');
        transport.write(b"BCC");
        let d = pass(&transport, 'd');
        transport.write(b"D");
        iterate_until(&reactor, || transport.buffered() == 0);
        // The system joins the plain bytes with the message that follows.
        assert_eq!(peer.take().unwrap(), ("AABCC".into(), vec!["b".into()]));
        assert_eq!(peer.take().unwrap(), ("D".into(), vec!["d".into()]));
        assert!(all_closed(&[b, d]), "the sender closes its own");
    }

    fn a_descriptor_waits_for_its_byte(subject: &Subject) {
        // IUNIXTransport.sendFileDescriptor: at least one byte must be written.
        let reactor = subject.reactor();
        let (transport, peer) = connected(&reactor, &Script::new().factory());
        let copies = [pass(&transport, 'a'), pass(&transport, 'b')];
        iterate_until(&reactor, || true);
        assert!(!copies[0].is_closed() && !copies[1].is_closed());
        transport.write(b"x");
        iterate_until(&reactor, || transport.buffered() == 0);
        assert_eq!(peer.take().unwrap(), ("x".into(), vec!["a".into(), "b".into()]));
        assert!(all_closed(&copies));
    }

    fn descriptors_written_in_callbacks_leave_with_the_reply(subject: &Subject) {
        // A reply in the connection's own callback takes the path of most messages.
        let (reactor, log) = (subject.reactor(), Log::new());
        let copies = Rc::new(RefCell::new(Vec::new()));
        let kept = copies.clone();
        let script = Script::logged(&log, "server").on_data(move |transport, data| {
            transport.write(b"you sent ");
            kept.borrow_mut().push(pass(transport, 'r'));
            transport.write(data);
        });
        let (_transport, peer) = connected(&reactor, &script.factory());
        peer.write(b"x");
        settle_and_expect(&reactor, &log, &["server made", "server data x"]);
        assert_eq!(peer.take().unwrap(), ("you sent x".into(), vec!["r".into()]));
        assert!(all_closed(&copies.borrow()));
    }

    fn a_descriptor_follows_the_replies_before_it(subject: &Subject) {
        // A provider may still collect the first reply when the second one is sent with its descriptor.
        let (reactor, log) = (subject.reactor(), Log::new());
        let script = Script::logged(&log, "server").on_made(|transport| transport.set_read_size(1)).on_data(
            |transport, data| {
                if data == b"2" {
                    pass(transport, 'd');
                }
                transport.write(data);
            },
        );
        let (_transport, peer) = connected(&reactor, &script.factory());
        peer.write(b"12");
        settle_and_expect(&reactor, &log, &["server made", "server data 1", "server data 2"]);
        assert_eq!(peer.take().unwrap(), ("12".into(), vec!["d".into()]));
    }

    fn a_thousand_descriptors_pass_between_large_messages(subject: &Subject) {
        // The queue empties and fills again, and partial writes end anywhere.
        const COUNT: usize = 1000;
        let (reactor, sent, got) = (subject.reactor(), noise(1_000_000, 5), Rc::new(RefCell::new(String::new())));
        let labels = got.clone();
        let taker = Taker::new(Script::new(), move |_, descriptor| labels.borrow_mut().push_str(&label_of(descriptor)));
        let sender = connected_to(&reactor, &Script::new().factory(), taker.factory());
        let label = |index: usize| char::from(b'a' + (index % 26) as u8);
        for (index, piece) in sent.chunks(sent.len() / COUNT).enumerate() {
            pass(&sender, label(index));
            sender.write(piece);
            if index % 100 == 99 {
                iterate_until(&reactor, || taker.script.received().len() == (index + 1) * piece.len());
            }
        }
        assert_same_bytes(&taker.script.received(), &sent);
        assert_eq!(*got.borrow(), (0..COUNT).map(label).collect::<String>());
    }

    fn received_descriptors_are_closed_by_exec(subject: &Subject) {
        // recvmsg(2): MSG_CMSG_CLOEXEC. A child that starts meanwhile must not inherit them.
        let (reactor, log) = (subject.reactor(), Log::new());
        let seen = log.clone();
        let taker = Taker::new(Script::new(), move |_, descriptor| {
            let flags = fcntl_getfd(&descriptor).expect("it is open");
            let path = format!("/dev/fd/{}", descriptor.as_raw_fd());
            let child = Command::new("test").args(["-e", &path]).status().expect("test(1) is there");
            seen.add(format!("{} {}", flags.contains(FdFlags::CLOEXEC), child.success()));
        });
        let (_transport, peer) = taker.connected(&reactor);
        peer.pass(b"x", &[Labelled::new('a').descriptor]);
        settle_and_expect(&reactor, &log, &["true false"]);
    }

    fn the_last_descriptor_arrives_before_the_end_of_the_stream(subject: &Subject) {
        // IHalfCloseableProtocol: the answer may carry a descriptor as well.
        let (reactor, log) = (subject.reactor(), Log::new());
        let mut taker = Taker::logged(&log, "server");
        let noted = log.clone();
        taker.script = taker.script.on_read_lost(move |transport| {
            noted.add("server read lost");
            pass(transport, 'r');
            transport.write(b"answer");
            transport.lose_connection();
        });
        let (_transport, peer) = taker.connected(&reactor);
        peer.pass(b"last", &[Labelled::new('a').descriptor]);
        peer.finish();
        settle_and_expect(&reactor, &log, &["server made", "server got a", "server data last", "server read lost", "server lost ConnectionDone"]);
        assert_eq!(peer.take().unwrap(), ("answer".into(), vec!["r".into()]));
        assert_eq!(peer.take().unwrap(), ("".into(), vec![]));
    }

    fn a_pause_in_the_receiver_delays_the_bytes(subject: &Subject) {
        // IPushProducer.pauseProducing: the protocol may need time before it knows what to do with the descriptor.
        let (reactor, log) = (subject.reactor(), Log::new());
        let got = log.clone();
        let taker = Taker::new(Script::logged(&log, "server"), move |transport, descriptor| {
            got.add(format!("got {}", label_of(descriptor)));
            transport.pause_producing();
        });
        let (transport, peer) = taker.connected(&reactor);
        let (descriptors, _copies) = Labelled::all(['a', 'b']);
        peer.pass(b"later", &descriptors);
        settle_and_expect(&reactor, &log, &["server made", "got a", "got b"]);
        transport.resume_producing();
        settle_and_expect(&reactor, &log, &["server made", "got a", "got b", "server data later"]);
    }

    fn a_receiver_may_hand_the_connection_over(subject: &Subject) {
        // Protocol.file_descriptor_receiver: the new protocol gets the bytes behind the descriptor.
        let (reactor, log) = (subject.reactor(), Log::new());
        let next = Script::logged(&log, "next");
        let taker = Taker::new(Script::logged(&log, "first"), move |transport, _| transport.hand_over(Box::new(next.clone())));
        let (_transport, peer) = taker.connected(&reactor);
        let Labelled { descriptor, closed } = Labelled::new('a');
        peer.pass(b"bytes", &[descriptor]);
        settle_and_expect(&reactor, &log, &["first made", "next made", "next data bytes"]);
        // The next protocol takes no descriptors.
        peer.pass(b"more", &[Labelled::new('b').descriptor]);
        settle_and_expect(&reactor, &log, &["first made", "next made", "next data bytes", "next data more"]);
        assert!(closed.is_closed());
    }

    fn a_receiver_may_close_the_connection(subject: &Subject) {
        // ITransport.loseConnection, abortConnection: neither bytes nor the other descriptors of the message follow.
        for (end, reason) in [
            (Transport::lose_connection as fn(&Transport), "server lost ConnectionDone"),
            (Transport::abort_connection, "server lost ConnectionAborted"),
        ] {
            let (reactor, log) = (subject.reactor(), Log::new());
            let got = log.clone();
            let taker = Taker::new(Script::logged(&log, "server"), move |transport, descriptor| {
                got.add(format!("got {}", label_of(descriptor)));
                end(transport);
            });
            let (_transport, peer) = taker.connected(&reactor);
            let (descriptors, copies) = Labelled::all(['a', 'b']);
            peer.pass(b"bytes", &descriptors);
            drop(descriptors);
            settle_and_expect(&reactor, &log, &["server made", "got a", reason]);
            assert!(all_closed(&copies));
        }
    }

    fn a_buffered_protocol_takes_descriptors_as_well(subject: &Subject) {
        // BufferedProtocol: the bytes are copied into its memory.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_transport, peer) = Taker::logged(&log, "server").buffered(4).connected(&reactor);
        peer.pass(b"in fours", &[Labelled::new('a').descriptor]);
        settle_and_expect(&reactor, &log, &["server made", "server got a", "server data in f", "server data ours"]);
        peer.write(b"plain");
        let expected = ["server made", "server got a", "server data in f", "server data ours", "server data plai", "server data n"];
        settle_and_expect(&reactor, &log, &expected);
    }

    fn a_small_read_size_keeps_descriptors_in_front(subject: &Subject) {
        // Transport::set_read_size
        let (reactor, log) = (subject.reactor(), Log::new());
        let mut taker = Taker::logged(&log, "server");
        taker.script = taker.script.on_made(|transport| transport.set_read_size(2));
        let (_transport, peer) = taker.connected(&reactor);
        peer.pass(b"abc", &[Labelled::new('a').descriptor]);
        settle_and_expect(&reactor, &log, &["server made", "server got a", "server data ab", "server data c"]);
    }

    fn descriptors_are_delivered_before_a_loss(subject: &Subject) {
        // A write fails while an answer with a descriptor is here already.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, peer) = Taker::logged(&log, "server").connected(&reactor);
        transport.write(&vec![0; TOO_MUCH]);
        reactor.prepare().unwrap();
        assert!(transport.buffered() > 0);
        peer.pass(b"answer", &[Labelled::new('a').descriptor]);
        drop(peer);
        settle_and_expect(&reactor, &log, &["server made", "server got a", "server data answer", "server lost ConnectionLost"]);
    }

    fn a_paused_protocol_gets_descriptors_after_a_failed_write(subject: &Subject) {
        // write(2): EPIPE. The rest of what has arrived is received at once, and delivered when the protocol resumes.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, peer) = Taker::logged(&log, "server").connected(&reactor);
        transport.pause_producing();
        peer.pass(b"answer", &[Labelled::new('a').descriptor]);
        drop(peer);
        transport.write(b"x");
        settle_and_expect(&reactor, &log, &["server made"]);
        transport.resume_producing();
        let expected = ["server made", "server got a", "server data answer", "server lost ConnectionLost"];
        settle_and_expect(&reactor, &log, &expected);
    }

    fn a_lost_connection_closes_queued_descriptors(subject: &Subject) {
        // Nothing leaks: neither behind bytes that the peer does not read, nor without a byte.
        for loss in [Transport::abort_connection, |transport| transport.end(Error::ConnectionDone)] as [fn(&Transport); 2] {
            let reactor = subject.reactor();
            let (transport, peer) = connected(&reactor, &Script::new().factory());
            transport.write(&vec![0; TOO_MUCH]);
            let copies = [pass(&transport, 'a'), pass(&transport, 'b')];
            reactor.prepare().unwrap();
            assert!(transport.buffered() > 0 && !copies[0].is_closed());
            loss(&transport);
            iterate_until(&reactor, || !transport.is_connected());
            assert!(all_closed(&copies));
            drop(peer);
        }
    }

    fn a_dropped_reactor_closes_queued_descriptors(subject: &Subject) {
        // Nothing leaks.
        let (reactor, taken) = (subject.reactor(), Rc::new(Cell::new(0)));
        let (transport, peer) = connected(&reactor, &Script::new().factory());
        let queued = pass(&transport, 'a');
        let counted = taken.clone();
        let (paused, other) = Taker::new(Script::new(), move |_, _| counted.set(counted.get() + 1)).connected(&reactor);
        paused.pause_producing();
        let Labelled { descriptor, closed: arrived } = Labelled::new('b');
        other.pass(b"x", &[descriptor]);
        reactor.prepare().unwrap();
        drop((reactor, transport, paused, peer, other));
        assert!(queued.is_closed() && arrived.is_closed());
        assert_eq!(taken.get(), 0);
    }

    fn a_close_with_a_descriptor_left_is_an_overrun(subject: &Subject) {
        // error.FileDescriptorOverrun: a descriptor without a byte cannot be sent.
        for close in [Transport::lose_connection, Transport::lose_write_connection] {
            let (reactor, log) = (subject.reactor(), Log::new());
            let (transport, peer) = connected(&reactor, &Script::logged(&log, "server").factory());
            transport.write(b"bytes");
            let left = pass(&transport, 'a');
            close(&transport);
            settle_and_expect(&reactor, &log, &["server made", "server lost FileDescriptorOverrun"]);
            assert_eq!(peer.take().unwrap(), ("bytes".into(), vec![]));
            assert_eq!(peer.take().unwrap(), ("".into(), vec![]));
            assert!(left.is_closed());
        }
    }

    fn too_many_queued_descriptors_are_refused(subject: &Subject) {
        // SCM_MAX_FD of unix(7): one message carries no more, so one byte cannot either.
        let reactor = subject.reactor();
        let (transport, peer) = connected(&reactor, &Script::new().factory());
        let copies = Vec::from_iter((0..MOST).map(|_| pass(&transport, 'q')));
        let Labelled { descriptor, closed } = Labelled::new('x');
        assert_refused(transport.send_file_descriptor(descriptor), ErrorKind::WouldBlock, "too many descriptors");
        assert!(closed.is_closed());
        transport.write(b"x");
        iterate_until(&reactor, || transport.buffered() == 0);
        assert_eq!(peer.take().unwrap().1.len(), MOST);
        assert!(all_closed(&copies));
        pass(&transport, 'x');
    }

    fn a_tcp_connection_refuses_descriptors(subject: &Subject) {
        // ITCPTransport has no sendFileDescriptor. TCP would drop the descriptor without an error.
        let (reactor, servers) = (subject.reactor(), Transports::new());
        subject.join(&reactor, &Script::new().listed_in(&servers), &Script::new());
        iterate_until(&reactor, || !servers.all().is_empty());
        let (transport, Labelled { descriptor, closed }) = (servers.first(), Labelled::new('a'));
        assert_refused(transport.send_file_descriptor(descriptor), ErrorKind::InvalidInput, "only a UNIX connection");
        assert!(closed.is_closed() && transport.is_connected());
    }

    fn an_ended_connection_refuses_descriptors(subject: &Subject) {
        // Transport::send_file_descriptor
        let (reactor, log) = (subject.reactor(), Log::new());
        let (transport, _peer) = connected(&reactor, &Script::logged(&log, "server").factory());
        transport.lose_write_connection();
        settle_and_expect(&reactor, &log, &["server made", "server write lost"]);
        let Labelled { descriptor, closed } = Labelled::new('a');
        assert!(matches!(transport.send_file_descriptor(descriptor), Err(Error::Closed)));
        transport.lose_connection();
        iterate_until(&reactor, || !transport.is_connected());
        let late = Labelled::new('b');
        assert!(matches!(transport.send_file_descriptor(late.descriptor), Err(Error::Closed)));
        assert!(closed.is_closed() && late.closed.is_closed());
    }

    fn a_layer_excludes_descriptors(subject: &Subject) {
        // A layer transforms bytes, so no byte of the protocol could carry a descriptor.
        let reactor = subject.reactor();
        let (layered, _peer) = connected(&reactor, &Script::new().factory());
        layered.start_layer(Scrambler::new(), LIMIT).unwrap();
        let Labelled { descriptor, closed } = Labelled::new('a');
        assert_refused(layered.send_file_descriptor(descriptor), ErrorKind::InvalidInput, "layer");
        assert!(closed.is_closed());
        let (waiting, _peer) = connected(&reactor, &Script::new().factory());
        pass(&waiting, 'b');
        assert_refused(waiting.start_layer(Scrambler::new(), LIMIT), ErrorKind::InvalidInput, "descriptors");
    }
}
