//! An echo server behind a load balancer that sends PROXY headers.
//!
//! Run `cargo run -p ropewalk-examples --bin proxy_echo`, then
//! `printf 'PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\nhello\n' | nc 127.0.0.1 8010`.
//!
//! A load balancer hides the address of the client, unless it sends a PROXY header (haproxy: `send-proxy-v2`, nginx:
//! `proxy_protocol on`). With `haproxy:` in the endpoint description, `peer()` is the address from that header, and the
//! protocol below needs no change. Policies use the same address: here, each client may open two connections.

use std::rc::Rc;

use ropewalk::endpoints::server_from_string;
use ropewalk::prelude::*;
use ropewalk::protocols::policies::LimitConnectionsByPeer;

/// No program but the balancer may be able to connect, because a header can contain any address.
const ENDPOINT: &str = "haproxy:tcp:8010:interface=127.0.0.1";
const CONNECTIONS_PER_PEER: usize = 2;

struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(format!("hello {}\n", transport.peer()).as_bytes());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn listen(reactor: &Reactor, endpoint: &str) -> ropewalk::Result<Deferred<Port>> {
    let factory = LimitConnectionsByPeer::new(paced(|| Echo), CONNECTIONS_PER_PEER);
    Ok(server_from_string(reactor, endpoint)?.listen(reactor, Rc::new(factory)))
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let stopper = reactor.clone();
    listen(&reactor, ENDPOINT)?.add_callbacks(
        |port| println!("echoing on {}", port.host().expect("the port is open")),
        move |failure| {
            eprintln!("proxy_echo: {failure}");
            stopper.call_later(std::time::Duration::ZERO, |reactor| reactor.stop().expect("the reactor is running"));
        },
    );
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor};

    const SIMULATED_ENDPOINT: &str = "haproxy:tcp:80:interface=10.0.0.1";
    /// The same header in both versions of the protocol.
    const TEXT: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n";
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xd4\x31\x01\xbb";

    fn serve() -> MemoryReactor {
        let net = MemoryReactor::seeded(2).with_faults(Faults::none().short_reads());
        listen(&net, SIMULATED_ENDPOINT).unwrap().try_result().unwrap().unwrap();
        net
    }

    #[test]
    fn the_peer_is_the_client_of_the_balancer() {
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
    fn a_connection_without_a_header_is_reset() {
        let net = serve();
        let stranger = net.connect_stream("10.0.0.1:80");
        stranger.write(b"hello?\n");
        net.settle();
        assert!(stranger.is_reset() && stranger.received().is_empty());
    }

    #[test]
    fn the_limit_counts_the_forwarded_peers() {
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
