//! IReactorUNIXDatagram.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{datagram_client_from_string, datagram_server_from_string};
use ropewalk::proto::description::quote_string_argument;
use ropewalk::{Address, Error, UnixDatagramBinding, UnixDatagramDestination};

use crate::datagram_script::DatagramScript;
use crate::script::{Log, stop};
use crate::waiting::iterate_until;
use crate::{count_turns, run, specifications};

specifications! { unix_datagrams;
    fn endpoints_for_datagrams_have_paths(subject: &Subject) {
        // The description of a client may have a name of its own, so that the server can answer.
        let (reactor, paths) = (subject.reactor(), [subject.unix_path(), subject.unix_path()]);
        let [server, own] = paths.each_ref().map(|path| quote_string_argument(&path.to_string_lossy()).into_owned());
        let endpoint = datagram_server_from_string(&reactor, &format!("unix-datagram:{server}:mode=600")).unwrap();
        endpoint.open(&reactor, Box::new(DatagramScript::echo())).try_result().unwrap().unwrap();
        assert_eq!(std::fs::metadata(&paths[0]).unwrap().permissions().mode() & 0o777, 0o600);
        let description = format!("unix-datagram:{server}:bind_address={own}");
        let (endpoint, script) = (datagram_client_from_string(&reactor, &description).unwrap(), DatagramScript::new());
        let client = endpoint.open(&reactor, Box::new(script.clone())).try_result().unwrap().unwrap();
        assert_eq!(client.host(), Address::Unix(paths[1].as_path().into()));
        client.write(b"hello").unwrap();
        iterate_until(&reactor, script.has(1));
        assert_eq!(script.received(), [b"hello"]);
    }

    fn a_bound_client_gets_an_answer(subject: &Subject) {
        // connectUNIXDatagram(bindAddress=...).
        let (reactor, server, client) = (subject.reactor(), subject.unix_path(), subject.unix_path());
        let script = DatagramScript::new();
        let port = reactor.listen_unix_datagram(&server, DatagramScript::echo()).unwrap();
        let destination = UnixDatagramDestination::new(&server).bind(&client);
        let connected = reactor.connect_unix_datagram(destination, script.clone()).unwrap();
        connected.write(b"hello").unwrap();
        iterate_until(&reactor, script.has(1));
        assert_eq!((script.received(), script.senders()), (vec![b"hello".to_vec()], vec![port.host()]));
        assert_eq!(connected.peer(), Some(Address::Unix(server.as_path().into())));
    }

    fn the_sender_without_a_name_is_unnamed(subject: &Subject) {
        // unix(7): a socket that was not bound has no name, so it cannot be answered.
        let (reactor, path, log) = (subject.reactor(), subject.unix_path(), Log::new());
        let server = DatagramScript::new().logged(&log, "server").on_data(|port, datagram| {
            port.write_to(b"answer", datagram.from).unwrap();
        });
        reactor.listen_unix_datagram(&path, server.clone()).unwrap();
        reactor.connect_unix_datagram(&path, DatagramScript::new()).unwrap().write(b"hello").unwrap();
        iterate_until(&reactor, server.has(1));
        assert_eq!(server.senders(), [Address::Unnamed]);
        log.expect(&["server started", "server data hello", "server failed (unnamed) WrongFamily"]);
    }

    fn the_file_has_its_mode_until_the_port_is_closed(subject: &Subject) {
        // CONTRACT 60: the file is removed with its port. Twisted leaves the file of a datagram port behind.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let binding = UnixDatagramBinding::new(&path).mode(0o600);
        let port = reactor.listen_unix_datagram(binding, DatagramScript::new()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let in_use = reactor.listen_unix_datagram(&path, DatagramScript::new()).unwrap_err();
        assert!(matches!(in_use, Error::CannotListen(..)), "{in_use}");
        let closed = port.stop_listening();
        iterate_until(&reactor, || closed.is_done());
        assert!(!path.exists());
    }

    fn a_bad_mode_is_refused(subject: &Subject) {
        // As for UNIX streams.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let binding = UnixDatagramBinding::new(&path).mode(0o1666);
        let error = reactor.listen_unix_datagram(binding, DatagramScript::new()).unwrap_err();
        assert!(error.to_string().contains("1666") && !path.exists(), "{error}");
    }

    fn connecting_to_a_missing_port_fails_at_once(subject: &Subject) {
        // connect(2): ENOENT.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let error = reactor.connect_unix_datagram(&path, DatagramScript::new()).unwrap_err();
        assert!(matches!(&error, Error::Connect(..)) && error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_full_receiver_is_reported_without_waiting(subject: &Subject) {
        // X1: the system calls a socket without a peer writable at any time, so waiting for room would never sleep.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let full = UnixDatagram::bind(&path).unwrap();
        let (own, log) = (subject.unix_path(), Log::new());
        let port = reactor.listen_unix_datagram(&own, DatagramScript::new().logged(&log, "port")).unwrap();
        let to = Address::Unix(path.as_path().into());
        let taken = (0..10_000).take_while(|_| port.write_to(b"x", &to).is_ok()).count();
        assert!(taken < 10_000);
        assert!(matches!(port.write_to(b"x", &to), Err(Error::SendBufferFull)));
        for step in 1..=10 {
            reactor.call_later(Duration::from_millis(20 * step), |_| ());
        }
        reactor.call_later(Duration::from_millis(220), stop);
        assert!(count_turns(&reactor) < 40);
        log.expect(&["port started", "port stopped"]);
        drop(full);
        std::fs::remove_file(path).unwrap();
    }

    fn a_connected_port_is_ready_when_the_receiver_reads(subject: &Subject) {
        // X1: with a peer the system reports room.
        let (reactor, path, log) = (subject.reactor(), subject.unix_path(), Log::new());
        let receiver = Rc::new(UnixDatagram::bind(&path).unwrap());
        let port = reactor.connect_unix_datagram(&path, DatagramScript::new().logged(&log, "port")).unwrap();
        let taken = (0..10_000).take_while(|_| port.write(b"x").is_ok()).count();
        assert!(matches!(port.write(b"x"), Err(Error::SendBufferFull)));
        for step in 1..=10 {
            reactor.call_later(Duration::from_millis(10 * step), |_| ());
        }
        let reader = receiver.clone();
        reactor.call_later(Duration::from_millis(100), move |_| {
            (0..taken).for_each(|_| assert_eq!(reader.recv(&mut [0; 9]).unwrap(), 1));
        });
        reactor.call_later(Duration::from_millis(200), stop);
        assert!(count_turns(&reactor) < 50);
        log.expect(&["port started", "port ready", "port stopped"]);
        std::fs::remove_file(path).unwrap();
    }

    fn a_producer_may_wait_for_room(subject: &Subject) {
        // All datagrams arrive, in order: the system loses none between UNIX sockets.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let (receiver, next) = (DatagramScript::new(), Rc::new(Cell::new(0_u32)));
        reactor.listen_unix_datagram(&path, receiver.clone()).unwrap();
        let count = next.clone();
        let more = move |port: &ropewalk::DatagramPort| {
            while count.get() < 500 {
                let number = count.get().to_be_bytes();
                match port.send(&[ropewalk::sys::Outgoing::to_peer(&number)]) {
                    (1, Ok(())) => count.set(count.get() + 1),
                    (_, outcome) => return assert!(matches!(outcome, Err(Error::SendBufferFull))),
                }
            }
        };
        let producer = DatagramScript::new().on_started(more.clone()).on_ready(more);
        reactor.connect_unix_datagram(&path, producer).unwrap();
        iterate_until(&reactor, receiver.has(500));
        assert_eq!(receiver.received(), (0..500_u32).map(u32::to_be_bytes).collect::<Vec<_>>());
    }

    fn a_corked_write_to_a_full_receiver_is_counted(subject: &Subject) {
        // IUNIXDatagramConnectedTransport.write: EAGAIN drops silently. Here it is counted.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let full = UnixDatagram::bind(&path).unwrap();
        let sender = DatagramScript::new().on_started(|port| (0..2000).for_each(|_| port.write(b"x").unwrap()));
        let port = reactor.connect_unix_datagram(&path, sender).unwrap();
        let counters = port.counters();
        assert_eq!(counters.sent + counters.unsent, 2000);
        assert!(counters.sent > 0 && counters.unsent > 0, "{counters:?}");
        drop(full);
        std::fs::remove_file(path).unwrap();
    }

    fn the_end_of_a_peer_is_a_refusal(subject: &Subject) {
        // unix(7): ECONNREFUSED. The port stays open.
        let (reactor, path, log) = (subject.reactor(), subject.unix_path(), Log::new());
        let peer = UnixDatagram::bind(&path).unwrap();
        let port = reactor.connect_unix_datagram(&path, DatagramScript::new().logged(&log, "port")).unwrap();
        drop(peer);
        std::fs::remove_file(&path).unwrap();
        assert!(port.write(b"x").is_err());
        let seen = log.clone();
        iterate_until(&reactor, move || seen.contains("port refused"));
        assert!(port.is_listening());
        log.expect(&["port started", "port refused"]);
    }

    fn an_adopted_pair_carries_datagrams(subject: &Subject) {
        // IReactorSocket.adoptDatagramPort. Twisted takes only UDP.
        let (reactor, [one, two]) = (subject.reactor(), [DatagramScript::new(), DatagramScript::echo()]);
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let echo = DatagramScript::new().on_data(|port, datagram| port.write(datagram.data).unwrap());
        drop(two);
        let options = ropewalk::DatagramOptions::default;
        let port = reactor.adopt_datagram_port(ours, options(), one.clone()).unwrap();
        reactor.adopt_datagram_port(theirs, options(), echo).unwrap();
        port.write(b"hello").unwrap();
        iterate_until(&reactor, one.has(1));
        assert_eq!(one.received(), [b"hello"]);
    }

    fn the_end_of_the_run_removes_the_file(subject: &Subject) {
        // ReactorBase.disconnectAll.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        reactor.listen_unix_datagram(&path, DatagramScript::new()).unwrap();
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert!(!path.exists());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn an_abstract_name_needs_no_file(subject: &Subject) {
        // unix(7).
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let name = format!("@ropewalk-{}", subject.unix_path().file_stem().unwrap().to_str().unwrap());
        let port = reactor.listen_unix_datagram(&name, script.clone()).unwrap();
        reactor.connect_unix_datagram(&name, DatagramScript::new()).unwrap().write(b"hello").unwrap();
        iterate_until(&reactor, script.has(1));
        assert!(matches!(port.host(), Address::Abstract(_)));
    }
}
