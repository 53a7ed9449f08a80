//! When descriptors run out: EMFILE, emfile(2). Each in a process of its own, because the limit belongs to a process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Subject;
use crate::scenario::Performance;
use crate::specifications;

/// Begins a scenario that listens, and says where.
fn begin(subject: &Subject, name: &str) -> (Performance, SocketAddr) {
    let mut performance = Performance::begin(subject, name);
    let host = performance.line().expect("it says where it listens").parse().expect("an address");
    (performance, host)
}

/// Waits for an echo.
fn is_served(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"x");
}

specifications! {
    limits;

    fn a_port_without_descriptors_serves_who_is_there_and_accepts_again_when_some_are_closed(subject: &Subject) {
        // LESSONS, bug 20; DESIGN section 9: serve who is connected, accept again when descriptors free up, never spin, tell
        // the application.
        let (mut crowded, host) = begin(subject, "crowded");
        let mut clients: Vec<_> = (0..100).map(|_| TcpStream::connect(host).unwrap()).collect();
        let accepted = crowded.line().unwrap();
        let accepted: usize = accepted.strip_suffix(" accepted").expect(&accepted).parse().unwrap();
        assert!((30..64).contains(&accepted), "{accepted} with 64 descriptors");
        clients[..accepted].iter_mut().for_each(is_served);
        crowded.expect(&["rests"]);
        // Connections wait in the order in which they came: each that ends lets one in.
        for _ in 0..20 {
            drop(clients.remove(0));
            is_served(&mut clients[accepted - 1]);
        }
        clients[..accepted].iter_mut().for_each(is_served);
        crowded.tell("stop");
        crowded.ends();
    }

    fn a_process_without_descriptors_is_told_by_whatever_needs_one(subject: &Subject) {
        // Contract 32: EMFILE likewise, in a later turn; CannotListenError at once.
        let mut exhausted = Performance::begin(subject, "exhausted");
        for beginning in ["cannot listen on 127.0.0.1:0: ", "failed: cannot connect to 127.0.0.1:9: "] {
            let line = exhausted.line().unwrap();
            assert!(line.starts_with(beginning) && line.contains("Too many open files"), "{line}");
        }
        exhausted.ends();
    }
}
