//! Running out of descriptors: EMFILE. Each specification has a separate process, because the limit belongs to a
//! process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Subject;
use crate::scenario::Performance;
use crate::specifications;

/// Begins a scenario that listens and prints its address.
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

    fn a_port_accepts_again_when_descriptors_are_closed(subject: &Subject) {
        // accept(2): EMFILE. Connections that are open are served, the loop does not spin, and the application is
        // notified.
        let (mut crowded, host) = begin(subject, "crowded");
        let mut clients: Vec<_> = (0..100).map(|_| TcpStream::connect(host).unwrap()).collect();
        let accepted = crowded.line().unwrap();
        let accepted: usize = accepted.strip_suffix(" accepted").expect(&accepted).parse().unwrap();
        assert!((30..64).contains(&accepted), "{accepted} with 64 descriptors");
        clients[..accepted].iter_mut().for_each(is_served);
        crowded.expect(&["rests"]);
        // Connections are accepted in the order in which they came: each connection that ends lets the next one in.
        for _ in 0..20 {
            drop(clients.remove(0));
            is_served(&mut clients[accepted - 1]);
        }
        clients[..accepted].iter_mut().for_each(is_served);
        crowded.tell("stop");
        crowded.ends();
    }

    fn running_out_of_descriptors_is_an_error_of_each_opener(subject: &Subject) {
        // socket(2): EMFILE. Connecting fails with ConnectError in a later turn, listening with CannotListenError at
        // once.
        let mut exhausted = Performance::begin(subject, "exhausted");
        for beginning in ["cannot listen on 127.0.0.1:0: ", "failed: cannot connect to 127.0.0.1:9: "] {
            let line = exhausted.line().unwrap();
            assert!(line.starts_with(beginning) && line.contains("Too many open files"), "{line}");
        }
        exhausted.ends();
    }
}
