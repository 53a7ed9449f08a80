//! Step 3: connections that close after a time without traffic.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_3 -- 127.0.0.1:8000 5`, then `nc 127.0.0.1 8000`, and wait.

use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::TimeoutFactory;

/// Answers each line in capital letters.
struct Shout;

impl LineProtocol for Shout {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        lines.send_line(&line.to_ascii_uppercase());
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        if matches!(reason, Error::TimedOut) {
            println!("{} was silent for too long", lines.peer());
        }
    }
}

/// Builds the protocol of each connection, and closes connections that were idle for `idle`.
fn shouting(idle: Duration) -> impl Factory {
    TimeoutFactory::new(paced(|| LineReceiver::new(Shout).delimiter("\n")), idle)
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let seconds = std::env::args().nth(2).map_or(60, |text| text.parse().expect("a number of seconds"));
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp(&address, shouting(Duration::from_secs(seconds)))?;
    println!("listening on {}", port.host()?);
    reactor.run()
}
