//! An echo server behind a load balancer: `cargo run -p ropewalk-examples --bin proxy_echo`, then
//! `printf 'PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\nhello\n' | nc 127.0.0.1 8010`.
//!
//! A balancer that forwards connections hides who made them, unless it says so in a PROXY protocol header (haproxy:
//! `send-proxy-v2`, nginx: `proxy_protocol on`). The protocol below knows nothing of that: `haproxy:` in the endpoint's
//! description is all, and `peer()` is the real one. So is the one that policies count: two connections from each
//! address, however many come through one balancer.

use std::rc::Rc;

use ropewalk::endpoints::server_from_string;
use ropewalk::prelude::*;
use ropewalk::protocols::policies::LimitConnectionsByPeer;

/// Listen where only the balancer can connect: a header may claim anything.
const ENDPOINT: &str = "haproxy:tcp:8010:interface=127.0.0.1";
const EACH_PEER: usize = 2;

struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        // It produces for itself: who sends and does not read is not read either.
        let _ = transport.register_producer(transport.clone());
        transport.write(format!("hello {}\n", transport.peer()).as_bytes());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.unregister_producer();
        transport.lose_connection();
    }
}

fn listen(reactor: &Reactor, endpoint: &str) -> ropewalk::Result<Deferred<Port>> {
    let factory = LimitConnectionsByPeer::new(|| Echo, EACH_PEER);
    Ok(server_from_string(reactor, endpoint)?.listen(reactor, Rc::new(factory)))
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let stopper = reactor.clone();
    listen(&reactor, ENDPOINT)?.add_callbacks(
        |port| println!("echoing on {}", port.host().expect("it listens")),
        move |failure| {
            eprintln!("proxy_echo: {failure}");
            stopper.call_later(std::time::Duration::ZERO, |reactor| reactor.stop().expect("it runs"));
        },
    );
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor};

    const BY_NAME: &str = "haproxy:tcp:80:interface=10.0.0.1";
    /// The same connection in both versions of the protocol.
    const TEXT: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n";
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xd4\x31\x01\xbb";

    fn serve() -> MemoryReactor {
        let net = MemoryReactor::seeded(2).with_faults(Faults::none().short_reads());
        listen(&net, BY_NAME).unwrap().try_result().unwrap().unwrap();
        net
    }

    #[test]
    fn the_peer_is_who_connected_to_the_balancer() {
        for header in [TEXT, BINARY] {
            let net = serve();
            let balancer = net.connect_stream("10.0.0.1:80");
            balancer.write(&[header, b"echo"].concat());
            balancer.finish();
            net.settle();
            assert_eq!(String::from_utf8(balancer.received()).unwrap(), "hello 192.0.2.1:54321\necho");
            assert!(balancer.is_eof());
        }
    }

    #[test]
    fn who_comes_without_a_header_is_not_served() {
        let net = serve();
        let stranger = net.connect_stream("10.0.0.1:80");
        stranger.write(b"hello?\n");
        net.settle();
        assert!(stranger.is_reset() && stranger.received().is_empty());
    }

    #[test]
    fn each_forwarded_peer_has_two_connections_through_the_one_balancer() {
        let net = serve();
        let greeted = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|peer| {
            let connection = net.connect_stream("10.0.0.1:80");
            connection.write(format!("PROXY TCP4 {peer} 198.51.100.7 54321 443\r\n").as_bytes());
            net.settle();
            (connection.received().starts_with(b"hello "), connection)
        });
        assert_eq!(greeted.map(|(greeted, _)| greeted), [true, true, false, true]);
    }
}
