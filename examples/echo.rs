//! An echo server: it sends back everything that it receives.
//!
//! Run `cargo run -p ropewalk-examples --bin echo`, then `nc 127.0.0.1 8000`.

use ropewalk::prelude::*;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8000", paced(|| Echo))?;
    println!("echoing on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor};
    use std::time::Duration;

    #[test]
    fn all_data_is_echoed_despite_short_reads() {
        let net = MemoryReactor::seeded(7).with_faults(Faults::none().short_reads());
        net.listen_tcp("10.0.0.1:80", paced(|| Echo)).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"hello");
        net.advance(Duration::from_secs(1));
        assert_eq!(client.received(), b"hello");
    }
}
