//! Character generator, RFC 864: lines of 72 printable characters. Each line starts one character further on.
//!
//! ```text
//!  !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
//! !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
//! "#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi
//! ```
//!
//! All connections share one piece of the pattern and send it repeatedly, so a slow reader costs no memory.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk::transports::{Producer, PullProducer, WeakTransport};
use ropewalk::{Error, Factory, Protocol, Transport};

use crate::idle::IdleTimer;

const LINE_LENGTH: u8 = 72;
const FIRST: u8 = b' ';
const PRINTABLE: u8 = b'~' - FIRST + 1;

/// Repetitions of the whole pattern in one piece, which is 62 KiB: enough to fill a socket buffer.
const REPETITIONS: usize = 9;

pub(super) fn factory(idle_limit: Option<Duration>) -> impl Factory {
    let pattern = Bytes::from(pattern().repeat(REPETITIONS));
    move || Chargen { pattern: pattern.clone(), idle_limit }
}

fn pattern() -> Vec<u8> {
    let line = |start| (0..LINE_LENGTH).map(move |column| FIRST + (start + column) % PRINTABLE).chain(*b"\r\n");
    (0..PRINTABLE).flat_map(line).collect()
}

/// The protocol of one connection.
struct Chargen {
    pattern: Bytes,
    idle_limit: Option<Duration>,
}

impl Protocol for Chargen {
    fn connection_made(&mut self, transport: &Transport) {
        let producer = Rc::new(PatternProducer {
            transport: transport.downgrade(),
            pattern: self.pattern.clone(),
            idle: IdleTimer::closing(transport, self.idle_limit),
            sent: Cell::new(0),
        });
        let _ = transport.register_producer(Producer::pull(producer));
    }

    /// Ignores input, as the RFC demands.
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    /// Continues: a peer that has finished sending may still read.
    fn read_connection_lost(&mut self, _transport: &Transport) {}

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        tracing::info!(peer = %transport.peer(), %reason, "chargen connection closed");
    }

    fn log_prefix(&self) -> &'static str {
        "chargen"
    }
}

/// Writes the pattern whenever there is room in the queue.
struct PatternProducer {
    transport: WeakTransport,
    pattern: Bytes,
    idle: IdleTimer,
    sent: Cell<u64>,
}

impl PullProducer for PatternProducer {
    fn resume_producing(&self) {
        if let Some(transport) = self.transport.upgrade() {
            transport.write_bytes(self.pattern.clone());
            self.sent.set(self.sent.get() + self.pattern.len() as u64);
            self.idle.touch();
        }
    }

    fn stop_producing(&self) {
        tracing::debug!(bytes = self.sent.get(), "chargen stopped sending");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_that_of_rfc_864() {
        let pattern = pattern();
        let text = String::from_utf8(pattern).unwrap();
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 95);
        assert!(lines.iter().all(|line| line.len() == 72));
        assert_eq!(lines[0], r##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##);
        assert_eq!(lines[1], r##"!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"##);
        // The last line continues in the first one of the next repetition.
        assert_eq!(lines[94].chars().next(), Some('~'));
        assert_eq!(lines[94][1..], lines[0][..71]);
    }
}
