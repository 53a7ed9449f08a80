//! The ledger of one end of a connection: its writes, its callbacks, and checks that follow from them.
//!
//! The stream of an end is unique: its number in 8 bytes, then bytes computed from the number and the position. So the
//! receiver can check the sender, and that each byte came once and in order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::Transport;

use crate::passing;
use crate::producers::CheckedProducer;
use crate::world::World;

const HEADER: u64 = 8;

#[derive(Default)]
pub(crate) struct End {
    pub(crate) number: u64,
    pub(crate) transport: RefCell<Option<Transport>>,
    /// Bytes of its stream that were accepted for sending.
    pub(crate) written: Cell<u64>,
    pub(crate) received: Cell<u64>,
    header: RefCell<Vec<u8>>,
    /// The producer that writes for this end.
    pub(crate) producer: RefCell<Option<Rc<CheckedProducer>>>,
    /// True while a producer is registered.
    pub(crate) has_producer: Cell<bool>,

    pub(crate) made: Cell<bool>,
    /// True if the connection speaks TLS.
    pub(crate) sealed: Cell<bool>,
    /// True once its TLS is open.
    pub(crate) opened: Cell<bool>,
    pub(crate) read_lost: Cell<bool>,
    pub(crate) write_lost: Cell<bool>,
    pub(crate) lost: Cell<bool>,
    /// True while a callback of its protocol is on the stack.
    pub(crate) busy: Cell<bool>,

    pub(crate) paused: Cell<bool>,
    /// True if it is the producer of another end, which pauses and resumes it.
    pub(crate) is_producer: Cell<bool>,
    pub(crate) losing: Cell<bool>,
    pub(crate) losing_write: Cell<bool>,
    pub(crate) aborting: Cell<bool>,
    /// The place in the stream of the byte that carries each passed descriptor.
    pub(crate) passed: RefCell<Vec<u64>>,
    /// The number of descriptors that have arrived here.
    pub(crate) taken: Cell<u64>,
    /// True for an end outside the reactor, which takes no descriptors.
    pub(crate) is_outside: Cell<bool>,
    /// True if one of its callbacks panicked.
    pub(crate) panicked: Cell<bool>,
    /// True if written bytes may be lost, although the other end sees a clean end of the stream.
    pub(crate) cut_short: Cell<bool>,
}

impl End {
    pub(crate) fn new(number: u64) -> End {
        End { number, ..End::default() }
    }

    pub(crate) fn lives(&self) -> bool {
        self.made.get() && !self.lost.get()
    }

    /// Returns the next `count` bytes of its stream.
    pub(crate) fn next_bytes(&self, count: usize) -> Vec<u8> {
        let from = self.written.get();
        (from..from + count as u64).map(|position| stream_byte(self.number, position)).collect()
    }

    /// Returns whether its protocol takes descriptors. Those for other ends are closed.
    pub(crate) fn takes_descriptors(&self) -> bool {
        !self.is_outside.get() && self.number % 3 != 0
    }

    /// Returns whether a write is accepted now.
    pub(crate) fn accepts_writes(&self) -> bool {
        let open = !self.losing_write.get() || self.has_producer.get() && !self.write_lost.get();
        self.lives() && !self.aborting.get() && open
    }

    /// Returns whether its TLS may have been closed by this side already.
    pub(crate) fn closes_sealed(&self) -> bool {
        self.sealed.get() && self.losing.get()
    }

    /// Checks and counts bytes that have arrived here.
    pub(crate) fn receive(&self, world: &World, data: &[u8]) {
        let begin = self.received.get();
        self.received.set(begin + data.len() as u64);
        let missing = HEADER.saturating_sub(begin) as usize;
        let (head, body) = data.split_at(missing.min(data.len()));
        self.header.borrow_mut().extend_from_slice(head);
        let Some(sender) = self.peer() else { return };
        let first = begin + head.len() as u64;
        let wrong = (first..).zip(body).find(|(position, byte)| stream_byte(sender, *position) != **byte);
        world.expect(wrong.is_none(), || {
            format!("end {} received other bytes than {sender} sent: {wrong:?}", self.number)
        });
    }

    /// Returns the number of the other end, once its header has arrived.
    pub(crate) fn peer(&self) -> Option<u64> {
        let header = self.header.borrow();
        (header.len() as u64 == HEADER).then(|| number_in(&header))
    }

    /// Checks that everything has arrived from an end that will send no more.
    pub(crate) fn check_whole(&self, world: &World, when: &str) {
        let Some(peer) = self.peer().and_then(|number| world.end(number)) else { return };
        let (received, written) = (self.received.get(), peer.written.get());
        let whole = received == written || peer.cut_short.get();
        let numbers = (self.number, peer.number);
        passing::check_all(world, self);
        world.expect(whole, || {
            format!("{when}, end {} has {received} of {written} bytes of end {}", numbers.0, numbers.1)
        });
    }
}

fn number_in(header: &[u8]) -> u64 {
    header.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Returns one byte of a stream.
pub(crate) fn stream_byte(number: u64, position: u64) -> u8 {
    if position < HEADER {
        return (number >> (8 * position)) as u8;
    }
    let mixed = (number << 32 | position).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}
