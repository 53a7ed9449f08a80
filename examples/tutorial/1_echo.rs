//! Step 1: an echo server.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_1`, then `nc 127.0.0.1 8000`.

use ropewalk::prelude::*;

/// Sends back everything that it receives.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp(&address, paced(|| Echo))?;
    println!("listening on {}", port.host()?);
    reactor.run()
}
