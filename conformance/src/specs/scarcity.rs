//! Running out of descriptors in virtual time: the rules of `limits`, and their times.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::sys::too_many_descriptors;
use ropewalk::testing::{Faults, MemoryReactor, TestStream};

use crate::logged::logged;
use crate::script::{Log, LoggingFactory, Script};
use crate::specifications;

/// A server with at most `descriptors` descriptors, one of them for its port, and clients that ask for an echo.
fn crowd(descriptors: usize, clients: usize) -> (MemoryReactor, Log, Vec<TestStream>) {
    let (net, log) = (MemoryReactor::new().with_faults(Faults::none().descriptors(descriptors)), Log::new());
    let factory = Rc::new(LoggingFactory::new(&log, Script::echo()));
    net.listen_tcp("10.0.0.1:80", factory).unwrap();
    let clients: Vec<_> = (0..clients).map(|_| net.connect_stream("10.0.0.1:80")).collect();
    clients.iter().for_each(|client| client.write(b"x"));
    net.advance(Duration::from_millis(1));
    (net, log, clients)
}

fn answered(clients: &[TestStream]) -> usize {
    clients.iter().filter(|client| !client.received().is_empty()).count()
}

specifications! {
    scarcity;

    fn a_failed_accept_is_reported_while_connections_are_served(_subject: &Subject) {
        // accept(2): EMFILE. The factory is notified.
        let (net, log, clients) = crowd(4, 5);
        assert_eq!((log.count("build"), log.count("accept failed")), (3, 1));
        assert_eq!(answered(&clients), 3);
        clients[0].write(b"y");
        net.advance(Duration::from_millis(1));
        assert_eq!(clients[0].received(), b"xy");
    }

    fn an_opener_beyond_the_limit_has_the_number_of_the_system(_subject: &Subject) {
        // socket(2): EMFILE, see Error::raw_os_error.
        let net = MemoryReactor::new().with_faults(Faults::none().descriptors(0));
        let error = net.listen_tcp("10.0.0.1:80", Script::new().factory()).unwrap_err();
        assert_eq!(error.raw_os_error(), too_many_descriptors().raw_os_error());
        assert!(error.to_string().contains("the faults allow no more descriptors"), "{error}");
    }

    fn a_closed_connection_makes_room_for_another_at_once(_subject: &Subject) {
        // accept(2): EMFILE. The port tries again when the reactor closes a descriptor.
        let (net, log, clients) = crowd(4, 5);
        clients[0].close();
        net.advance(Duration::from_millis(1));
        assert_eq!(log.count("build"), 4);
        assert_eq!(clients[3].received(), b"x");
    }

    fn a_port_retries_twice_a_second(_subject: &Subject) {
        // Other code in the process may have closed a descriptor, which the reactor cannot see.
        let (net, log, clients) = crowd(4, 5);
        net.set_faults(Faults::none());
        net.advance(Duration::from_millis(498));
        assert_eq!(log.count("build"), 3);
        net.advance(Duration::from_millis(2));
        assert_eq!(log.count("build"), 5);
        assert_eq!(answered(&clients), 5);
    }

    fn the_loop_sleeps_while_accepting_is_impossible(_subject: &Subject) {
        // A minute has 120 attempts, and `advance` gives up on a loop that spins.
        let (net, log, _clients) = crowd(4, 5);
        net.advance(Duration::from_secs(60));
        assert_eq!(log.count("build"), 3);
        assert!((100..=121).contains(&log.count("accept failed")), "{} attempts", log.count("accept failed"));
    }

    fn a_port_that_fails_repeatedly_logs_every_ten_seconds(_subject: &Subject) {
        // A flood of connections must not flood the log. Each client that leaves lets another client in, then accept
        // fails again.
        let mut failures = 0;
        let lines = logged(|| {
            let (net, log, mut clients) = crowd(4, 50);
            for _ in 0..20 {
                clients.remove(0).close();
                net.advance(Duration::from_secs(1));
            }
            failures = log.count("accept failed");
        });
        let complaints = lines.iter().filter(|line| line.starts_with("WARN") && line.contains("cannot accept")).count();
        assert!(failures > 20, "{failures}");
        assert_eq!(complaints, 3, "{lines:#?}");
    }

    fn a_lingering_connection_makes_room_for_a_new_one(_subject: &Subject) {
        // The protocol of a lingering connection has ended, and its peer probably has the last response.
        let (net, log) = (MemoryReactor::new().with_faults(Faults::none().descriptors(4)), Log::new());
        let server = Script::new().on_data(|transport, _| {
            transport.write(b"no");
            transport.lose_connection();
        });
        net.listen_tcp("10.0.0.1:80", LoggingFactory::new(&log, server)).unwrap();
        for number in 1..=5 {
            let client = net.connect_stream("10.0.0.1:80");
            client.write(b"x");
            net.advance(Duration::from_millis(1));
            assert_eq!((client.received(), client.is_eof()), (b"no".to_vec(), true), "client {number}");
            // Of the 4 descriptors, one is the port's and three linger. Each later client closes exactly one lingering
            // connection.
            assert_eq!(net.lingering_count(), 3.min(number));
            // The client keeps its side open, so the server's connection lingers.
            std::mem::forget(client);
        }
        assert_eq!((log.count("build"), log.count("accept failed")), (5, 0));
    }

    fn stopping_a_port_cancels_its_retry_timer(_subject: &Subject) {
        // A timer that was not cancelled would wake the loop.
        let (net, log) = (MemoryReactor::new().with_faults(Faults::none().descriptors(2)), Log::new());
        let port = net.listen_tcp("10.0.0.1:80", LoggingFactory::new(&log, Script::new())).unwrap();
        let _clients = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        net.advance(Duration::from_millis(1));
        assert_eq!(net.get_delayed_calls().len(), 1);
        port.stop_listening();
        net.advance(Duration::from_millis(1));
        assert!(net.get_delayed_calls().is_empty());
        assert!(!port.is_listening());
    }
}
