//! One direction of a stream.
//!
//! ```text
//!   sender -> [under way: (arrival, segment) ...] -> [arrived bytes ...] -> receiver
//!             \______________ at most `capacity` bytes together ________/
//! ```
//!
//! What is sent later never arrives earlier. Acknowledgements take no time: whatever the receiver takes out makes room
//! for the sender at once.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use ropewalk_proto::Moment;

/// What is under way.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Bytes),
    /// The sender will send no more.
    Fin,
    /// The connection is broken.
    Reset,
}

/// One direction of a stream, kept at its receiving end.
pub(super) struct Pipe {
    under_way: VecDeque<(Moment, Segment)>,
    arrived: VecDeque<Bytes>,
    /// Bytes arrived.
    unread: usize,
    /// Bytes under way and arrived.
    held: usize,
    capacity: usize,
    /// When the last segment arrives: none may overtake it.
    last_arrival: Moment,
    reset_sent: bool,
    ended: bool,
    broken: bool,
}

impl Pipe {
    /// An empty one that holds `capacity` bytes, and into which nothing arrives before `opens`.
    pub(super) fn new(capacity: usize, opens: Moment) -> Pipe {
        Pipe {
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            unread: 0,
            held: 0,
            capacity,
            last_arrival: opens,
            reset_sent: false,
            ended: false,
            broken: false,
        }
    }

    /// Sends `segment`, which should arrive at `arrival`, and returns when it really will.
    ///
    /// After a reset nothing else is sent.
    pub(super) fn send(&mut self, segment: Segment, arrival: Moment) -> Option<Moment> {
        if self.reset_sent {
            return None;
        }
        match &segment {
            Segment::Bytes(bytes) => self.held += bytes.len(),
            Segment::Fin => {}
            Segment::Reset => self.reset_sent = true,
        }
        self.last_arrival = self.last_arrival.max(arrival);
        self.under_way.push_back((self.last_arrival, segment));
        Some(self.last_arrival)
    }

    /// Nothing arrives before `moment`.
    pub(super) fn hold_until(&mut self, moment: Moment) {
        self.last_arrival = self.last_arrival.max(moment);
    }

    /// Lets arrive what is due at `now`.
    pub(super) fn arrive(&mut self, now: Moment) {
        while self.under_way.front().is_some_and(|(arrival, _)| *arrival <= now) {
            let Some((_, segment)) = self.under_way.pop_front() else { return };
            match segment {
                Segment::Bytes(bytes) => {
                    self.unread += bytes.len();
                    self.arrived.push_back(bytes);
                }
                Segment::Fin => self.ended = true,
                Segment::Reset => self.break_off(),
            }
        }
    }

    /// Forgets what has not arrived, but for a reset.
    pub(super) fn drop_under_way(&mut self) {
        self.under_way.retain(|(_, segment)| matches!(segment, Segment::Reset));
        self.held = self.unread;
    }

    /// Takes bytes out into `buffer`, and returns how many.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while let Some(chunk) = self.arrived.front_mut().filter(|_| count < buffer.len()) {
            let part = chunk.len().min(buffer.len() - count);
            chunk.copy_to_slice(&mut buffer[count..count + part]);
            count += part;
            if chunk.is_empty() {
                self.arrived.pop_front();
            }
        }
        self.unread -= count;
        self.held -= count;
        count
    }

    /// Takes out up to `longest` bytes in the memory that they came in.
    pub(super) fn take(&mut self, longest: usize) -> Option<Bytes> {
        let chunk = self.arrived.front_mut()?;
        let part = chunk.split_to(chunk.len().min(longest));
        if chunk.is_empty() {
            self.arrived.pop_front();
        }
        self.unread -= part.len();
        self.held -= part.len();
        Some(part)
    }

    /// How many bytes the sender may still send.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held)
    }

    /// How many bytes it holds when it is full.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes stand at the receiver's disposal.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// When the first bytes that are under way arrive.
    pub(super) fn next_bytes(&self) -> Option<Moment> {
        let mut bytes = self.under_way.iter().filter(|(_, segment)| matches!(segment, Segment::Bytes(_)));
        bytes.next().map(|(arrival, _)| *arrival)
    }

    /// Whether the end of the stream has arrived; unread bytes come before it.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a reset has arrived.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether taking something out would give bytes, the end or an error.
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ended || self.broken
    }

    fn break_off(&mut self) {
        self.broken = true;
        self.arrived.clear();
        self.under_way.clear();
        self.unread = 0;
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    fn bytes(text: &'static str) -> Segment {
        Segment::Bytes(Bytes::from_static(text.as_bytes()))
    }

    fn read_all(pipe: &mut Pipe) -> Vec<u8> {
        let mut buffer = [0; 100];
        let count = pipe.read(&mut buffer);
        buffer[..count].to_vec()
    }

    #[test]
    fn what_was_sent_later_never_arrives_earlier() {
        let mut pipe = Pipe::new(100, Moment::ZERO);
        assert_eq!(pipe.send(bytes("slow"), at(9)), Some(at(9)));
        assert_eq!(pipe.send(bytes("fast"), at(3)), Some(at(9)));
        pipe.arrive(at(8));
        assert!(!pipe.is_readable());
        pipe.arrive(at(9));
        assert_eq!(read_all(&mut pipe), b"slowfast");
    }

    #[test]
    fn the_end_comes_after_the_bytes_before_it() {
        let mut pipe = Pipe::new(100, Moment::ZERO);
        pipe.send(bytes("last"), at(1));
        pipe.send(Segment::Fin, at(1));
        pipe.arrive(at(1));
        assert!(pipe.is_ended());
        assert_eq!(pipe.unread(), 4);
        assert_eq!(read_all(&mut pipe), b"last");
    }

    #[test]
    fn room_comes_back_with_what_the_receiver_takes_out() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("abcdefgh"), at(1));
        assert_eq!(pipe.room(), 2);
        pipe.arrive(at(1));
        assert_eq!(pipe.room(), 2);
        assert_eq!(pipe.take(3).unwrap(), "abc");
        assert_eq!(pipe.room(), 5);
        assert_eq!(pipe.read(&mut [0; 4]), 4);
        assert_eq!(pipe.room(), 9);
        assert_eq!(pipe.take(100).unwrap(), "h");
        assert_eq!(pipe.take(100), None);
    }

    #[test]
    fn a_reset_drops_what_is_unread_and_ends_all_sending() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("unread"), at(1));
        pipe.send(Segment::Reset, at(2));
        assert_eq!(pipe.send(bytes("late"), at(3)), None);
        pipe.arrive(at(1));
        assert_eq!(pipe.unread(), 6);
        pipe.arrive(at(2));
        assert!(pipe.is_broken());
        assert_eq!((pipe.unread(), pipe.room()), (0, 10));
    }

    #[test]
    fn a_reset_under_way_survives_the_second_one() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("lost"), at(1));
        pipe.send(Segment::Reset, at(2));
        pipe.drop_under_way();
        assert_eq!(pipe.send(Segment::Reset, at(3)), None);
        pipe.arrive(at(2));
        assert!(pipe.is_broken());
    }

    #[test]
    fn what_is_dropped_under_way_gives_its_room_back() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("here"), at(1));
        pipe.send(bytes("there"), at(5));
        pipe.arrive(at(1));
        pipe.drop_under_way();
        pipe.arrive(at(9));
        assert_eq!(pipe.room(), 6);
        assert_eq!(read_all(&mut pipe), b"here");
    }
}
