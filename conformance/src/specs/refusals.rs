//! The interfaces that need the operating system, on a provider that lacks them, such as the simulated network.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::sys::RawWaitable;
use ropewalk::{Descriptor, Error, Interface};

use crate::links::{Countdown, NOWHERE};
use crate::script::{Log, LoggingFactory, Script};
use crate::{run, specifications};

const MISSING: [Interface; 4] = [Interface::Socket, Interface::FdSet, Interface::Pipes, Interface::Signals];

const MINUTE: Duration = Duration::from_secs(60);

/// Fails unless `error` says that the provider lacks the interface called `name`.
#[track_caller]
fn expect_lack(error: &Error, name: &str) {
    assert!(matches!(error, Error::Unsupported { interface, .. } if *interface == name), "{error:?}");
    assert_eq!(error.raw_os_error(), None);
}

struct Watched(UnixStream);

impl Descriptor for Watched {
    fn raw_io(&self) -> RawWaitable {
        self.0.as_raw_fd()
    }
}

specifications! {
    refusals;

    fn missing_interfaces_are_not_listed(subject: &Subject) {
        // Reactor::provides
        let reactor = subject.reactor();
        for missing in MISSING {
            assert!(!reactor.provides(missing), "{missing:?}");
        }
    }

    fn a_prepared_socket_is_refused_at_once(subject: &Subject) {
        // Reactor::connect_socket: the socket is closed, and the factory is not started.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outcome = reactor.connect_socket(ours, NOWHERE, MINUTE, LoggingFactory::refusing(&log));
        expect_lack(&outcome.unwrap_err(), "socket");
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        log.expect(&[]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_adopted_socket_is_refused_at_once(subject: &Subject) {
        // IReactorSocket.adoptStreamPort, adoptStreamConnection: the socket is closed, and the factory is not asked.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outcome = reactor.adopt_stream_connection(ours, &LoggingFactory::refusing(&log));
        expect_lack(&outcome.unwrap_err(), "socket");
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        expect_lack(&reactor.adopt_stream_port(listener, LoggingFactory::refusing(&log)).unwrap_err(), "socket");
        assert!(TcpListener::bind(place).is_ok(), "the address is free again");
        log.expect(&[]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_connection_that_cannot_be_released_continues(subject: &Subject) {
        // Transport::release: after an error the connection is as before, with the bytes that wait to be sent.
        let (reactor, both) = (subject.reactor(), Countdown::new(2));
        let client = Script::new().on_made(|transport| {
            assert!(transport.handle().is_none());
            transport.write(b"hello, ");
            expect_lack(&transport.release().unwrap_err(), "socket");
            assert!(transport.is_connected());
            transport.write(b"goodbye");
            transport.lose_write_connection();
        });
        let client = client.counted_by(&both);
        let server = Script::echo().counted_by(&both);
        subject.join(&reactor, &server, &client);
        run(&reactor);
        assert_eq!((server.received(), client.received()), (b"hello, goodbye".to_vec(), b"hello, goodbye".to_vec()));
    }

    fn a_descriptor_is_not_sent_by_tcp(subject: &Subject) {
        // IUNIXTransport.sendFileDescriptor: the descriptor is closed, and the connection continues.
        let (reactor, both) = (subject.reactor(), Countdown::new(2));
        let client = Script::new().on_made(|transport| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let refused = transport.send_file_descriptor(ours).unwrap_err().to_string();
            assert!(refused.contains("only a UNIX connection carries descriptors"), "{refused}");
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
            transport.write(b"bytes alone");
            transport.lose_connection();
        });
        let server = Script::new().counted_by(&both);
        subject.join(&reactor, &server, &client.counted_by(&both));
        run(&reactor);
        assert_eq!(server.received(), b"bytes alone");
    }

    fn a_descriptor_is_not_watched(subject: &Subject) {
        // IReactorFDSet.addReader, addWriter
        let reactor = subject.reactor();
        let descriptor: Rc<dyn Descriptor> = Rc::new(Watched(UnixStream::pair().unwrap().0));
        for outcome in [reactor.add_reader(&descriptor), reactor.add_writer(&descriptor)] {
            expect_lack(&outcome.unwrap_err(), "fd_set");
        }
        assert!(reactor.get_readers().is_empty() && reactor.get_writers().is_empty());
        assert_eq!(Rc::strong_count(&descriptor), 1);
    }

    fn a_signal_is_not_watched(subject: &Subject) {
        // Reactor::on_signal
        let outcome = subject.reactor().on_signal(ropewalk::sys::signals::SIGHUP, |_| panic!("it is not watched"));
        expect_lack(&outcome.map(drop).unwrap_err(), "signals");
    }
}
