//! Names the keys that are pressed, until `q`.
//!
//! Run `cargo run -p ropewalk-examples --bin keys` in a terminal. Each key arrives at once and is not echoed. The size of
//! the terminal is printed when it changes. However the program ends, the terminal is as before.

use std::rc::Rc;

use ropewalk::endpoints::server_from_string;
use ropewalk::prelude::*;
use ropewalk::sys::{TerminalMode, TerminalModeGuard};

/// The protocol of the terminal.
struct Keys;

impl Protocol for Keys {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"press keys, and q to end\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        for key in data {
            transport.write(format!("{}\n", key.escape_ascii()).as_bytes());
        }
        if data.contains(&b'q') {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, transport: &Transport, _reason: &Error) {
        // Fails if the end of the run has closed the connection.
        let _ = transport.reactor().stop();
    }
}

fn main() -> ropewalk::Result<()> {
    let _mode = TerminalModeGuard::set(TerminalMode::Cbreak)?;
    let reactor = Reactor::new()?;
    let listening = server_from_string(&reactor, "stdio:")?.listen(&reactor, Rc::new(|| Keys));
    let port = listening.try_result().expect("the streams are taken at once")?;
    let terminal = port.only_connection();
    let _sizes = reactor.on_window_size(move |_, size| {
        if let Some(terminal) = &terminal {
            terminal.write(format!("{} lines of {} characters\n", size.rows, size.columns).as_bytes());
        }
    })?;
    reactor.run()
}
