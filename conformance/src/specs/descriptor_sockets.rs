//! IUNIXTransport.sendFileDescriptor, IFileDescriptorReceiver: descriptors and the sockets of the system, which can be
//! flooded, released, or without a free number.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use ropewalk::Transport;
use ropewalk::sys::{PipeEnd, Sharing};

use crate::links::Transports;
use crate::passed::{ForeignPeer, Labelled, Taker, assert_refused, connected, pass};
use crate::scenario::Performance;
use crate::script::{Log, Script};
use crate::specifications;
use crate::waiting::iterate_until;

specifications! {
    descriptor_sockets;

    fn adopted_connections_refuse_descriptors(subject: &Subject) {
        // ITCPTransport has no sendFileDescriptor. TCP would drop the descriptor without an error.
        let reactor = subject.reactor();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let factory = Taker::new(Script::new(), |_, _| unreachable!("TCP carries none")).factory();
        let tcp = reactor.adopt_stream_connection(listener.accept().unwrap().0, &factory).unwrap();
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let pipe = reactor.adopt_pipe(writer, PipeEnd::Writer, Sharing::Owned, &factory).unwrap();
        for transport in [tcp, pipe] {
            let Labelled { descriptor, closed } = Labelled::new('a');
            let outcome = transport.send_file_descriptor(descriptor);
            assert_refused(outcome, ErrorKind::InvalidInput, "only a UNIX connection");
            assert!(closed.is_closed() && transport.is_connected());
        }
    }

    fn a_connection_with_waiting_descriptors_is_not_released(subject: &Subject) {
        // Released has no place for them.
        let (reactor, all) = (subject.reactor(), Transports::new());
        let (sender, peer) = connected(&reactor, &Script::new().listed_in(&all).factory());
        pass(&sender, 'a');
        assert_refused(sender.release().map(drop), ErrorKind::InvalidInput, "descriptors");
        sender.write(b"x");
        iterate_until(&reactor, || sender.buffered() == 0);
        assert_eq!(peer.take().unwrap(), ("x".into(), vec!["a".into()]));
        sender.release().unwrap();
    }

    fn a_flood_of_descriptors_delays_no_other_connection(subject: &Subject) {
        // Each turn of a connection is bounded, and no descriptor stays open.
        const MESSAGES: usize = 300;
        let (reactor, taken) = (subject.reactor(), Rc::new(Cell::new(0)));
        let counted = taken.clone();
        let taker = Taker::new(Script::new(), move |_, _| counted.set(counted.get() + 1));
        let (_flooded, flooder) = ForeignPeer::connected(&reactor, &taker.factory());
        let log = Log::new();
        let (_other, client) = connected(&reactor, &Script::logged(&log, "other").on_data(Transport::write).factory());
        let Labelled { descriptor, closed } = Labelled::new('f');
        let flooding = std::thread::spawn(move || {
            let many = [&descriptor; 100];
            (0..MESSAGES).for_each(|_| flooder.pass(b"x", &many));
            flooder
        });
        let seen = taken.clone();
        iterate_until(&reactor, || seen.get() > 0);
        client.write(b"served");
        iterate_until(&reactor, || log.contains("other data served"));
        iterate_until(&reactor, || taken.get() == 100 * MESSAGES);
        drop(flooding.join().unwrap());
        assert_eq!(client.take().unwrap().0, "served");
        assert!(closed.is_closed());
    }

    fn lost_descriptors_are_reported_with_the_bytes(subject: &Subject) {
        // recvmsg(2): MSG_CTRUNC. In a process with a free number for four descriptors, the peer sends eight.
        let mut scarce = Performance::begin(subject, "few free descriptors");
        scarce.expect(&["got a", "got b", "got c", "got d", "lost some", "data eight"]);
        // Later messages keep their own, and nothing leaks.
        scarce.expect(&["got x", "data one", "0 more descriptors"]);
        scarce.ends();
    }

    fn a_connection_ends_when_descriptors_are_lost(subject: &Subject) {
        // FileDescriptorReceiver::file_descriptors_lost: the default.
        let mut scarce = Performance::begin(subject, "no free descriptors");
        scarce.expect(&["lost FileDescriptorsLost"]);
        scarce.ends();
    }

    fn every_end_of_a_connection_leaves_no_descriptor(subject: &Subject) {
        // The descriptors of the process are counted: /dev/fd.
        let mut counted = Performance::begin(subject, "passed descriptors");
        counted.expect(&["0 more descriptors"]);
        counted.ends();
    }
}
