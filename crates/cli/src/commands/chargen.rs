//! Character generator, RFC 864: lines of 72 printable characters. Each line starts one character further on.
//!
//! ```text
//!  !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
//! !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
//! "#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi
//! ```
//!
//! All connections share one piece of the pattern and send it repeatedly, so a slow reader costs no memory.

use std::borrow::Cow;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk::transports::{Producer, PullProducer, WeakTransport};
use ropewalk::{Error, Factory, Protocol, Reactor, Transport};

use super::datagrams::Answers;
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

/// The most characters of an answer to a datagram.
const DATAGRAM_MOST: u64 = 512;

/// The answers to datagrams: a random number of characters, each time from the next line of the pattern on.
pub(super) struct ChargenDatagrams {
    pattern: Vec<u8>,
    random: RandomState,
    answered: u64,
}

impl ChargenDatagrams {
    pub(super) fn new() -> ChargenDatagrams {
        // The last line has the whole pattern behind it.
        ChargenDatagrams { pattern: pattern().repeat(2), random: RandomState::new(), answered: 0 }
    }
}

impl Answers for ChargenDatagrams {
    fn answer<'a>(&'a mut self, _reactor: &Reactor, _data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        // A hash with a random key is random enough for a length.
        let length = self.random.hash_one(self.answered) % (DATAGRAM_MOST + 1);
        let line = self.answered % u64::from(PRINTABLE);
        self.answered += 1;
        let start = line as usize * (usize::from(LINE_LENGTH) + 2);
        Some(Cow::Borrowed(&self.pattern[start..start + length as usize]))
    }

    fn log_prefix(&self) -> &'static str {
        "chargen"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ropewalk::testing::MemoryReactor;

    use super::*;

    #[test]
    fn answers_to_datagrams_have_0_to_512_characters() {
        // RFC 864: "a datagram containing a random number (between 0 and 512) of characters".
        let (net, mut datagrams) = (MemoryReactor::new(), ChargenDatagrams::new());
        let mut lengths = BTreeSet::new();
        for number in 0..20_000_usize {
            let answer = datagrams.answer(&net, b"ignored").unwrap();
            let first = FIRST + (number % usize::from(PRINTABLE)) as u8;
            assert!(answer.first().is_none_or(|character| *character == first), "answer {number}");
            lengths.insert(answer.len());
        }
        assert_eq!((lengths.first(), lengths.last(), lengths.len()), (Some(&0), Some(&512), 513));
    }

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
