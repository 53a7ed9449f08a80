//! Step 2: a server of lines.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_2`, then `nc 127.0.0.1 8000`.

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// Answers each line in capital letters.
struct Shout;

impl LineProtocol for Shout {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        lines.send_line(&line.to_ascii_uppercase());
    }
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let reactor = Reactor::new()?;
    let shouting = || LineReceiver::new(Shout).delimiter("\n");
    let port = reactor.listen_tcp(&address, paced(shouting))?;
    println!("listening on {}", port.host()?);
    reactor.run()
}
