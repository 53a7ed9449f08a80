//! One direction of a stream.
//!
//! ```text
//!   sender -> [under way: (arrival, segment) ...] -> [arrived bytes ...] -> receiver
//!             \______________ at most `capacity` bytes together ________/
//! ```
//!
//! Segments arrive in the order in which they were sent. Acknowledgements take no time: bytes that the receiver takes make
//! room for the sender at once.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use ropewalk_proto::Moment;
use ropewalk_sys::OwnedWaitable;

/// The number of retransmissions before a kernel gives a connection up, and the limits of the delays between them:
/// tcp_retries2, TCP_RTO_MIN and TCP_RTO_MAX of Linux. All delays together take 924.6 seconds: tcp(7).
const RETRANSMISSIONS: u32 = 15;
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(200);
const LONGEST_RETRANSMISSION: Duration = Duration::from_secs(120);

/// Returns the delay of the retransmission that follows `lost` transmissions. `None` means that the sender gives up.
///
/// The last delay is the wait for an answer to the last retransmission.
pub(super) fn retransmission_delay(lost: u32) -> Option<Duration> {
    let doubled = FIRST_RETRANSMISSION.saturating_mul(2u32.saturating_pow(lost));
    (lost <= RETRANSMISSIONS).then_some(doubled.min(LONGEST_RETRANSMISSION))
}

/// A unit of transmission.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Bytes),
    /// Bytes of a UNIX socket, and the descriptors that travel with the first of them.
    Message(Bytes, Vec<OwnedWaitable>),
    /// The end of the stream.
    Fin,
    /// The connection is broken.
    Reset,
}

impl Segment {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Segment::Bytes(bytes) | Segment::Message(bytes, _) => bytes.len(),
            Segment::Fin | Segment::Reset => 0,
        }
    }
}

/// Descriptors that have arrived, and the places in the stream at which their message begins and ends.
struct Message {
    begin: u64,
    end: u64,
    descriptors: Vec<OwnedWaitable>,
}

/// One direction of a stream, kept at its receiving end.
pub(super) struct Pipe {
    under_way: VecDeque<(Moment, Segment)>,
    arrived: VecDeque<Bytes>,
    /// Messages with descriptors that have arrived, in order.
    messages: VecDeque<Message>,
    /// The number of bytes that were read.
    taken: u64,
    /// The number of bytes that have arrived and were not read.
    unread: usize,
    /// The number of bytes that are under way or unread.
    held: usize,
    capacity: usize,
    /// The arrival time of the last segment. No later segment may arrive earlier.
    last_arrival: Moment,
    reset_sent: bool,
    ended: bool,
    broken: Option<io::ErrorKind>,
    /// The number of lost transmissions of the first segment.
    lost: u32,
}

impl Pipe {
    /// Returns an empty pipe for `capacity` bytes, in which nothing arrives before `opens`.
    pub(super) fn new(capacity: usize, opens: Moment) -> Pipe {
        Pipe {
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            messages: VecDeque::new(),
            taken: 0,
            unread: 0,
            held: 0,
            capacity,
            last_arrival: opens,
            reset_sent: false,
            ended: false,
            broken: None,
            lost: 0,
        }
    }

    /// Sends `segment` and returns its arrival: `arrival`, or later if an earlier segment arrives later.
    ///
    /// Returns `None` after a reset, because no segment follows a reset.
    pub(super) fn send(&mut self, segment: Segment, arrival: Moment) -> Option<Moment> {
        if self.reset_sent {
            return None;
        }
        self.held += segment.len();
        self.reset_sent = matches!(segment, Segment::Reset);
        self.last_arrival = self.last_arrival.max(arrival);
        self.under_way.push_back((self.last_arrival, segment));
        Some(self.last_arrival)
    }

    /// Delays segments that are sent from now on: they do not arrive before `moment`.
    pub(super) fn hold_until(&mut self, moment: Moment) {
        self.last_arrival = self.last_arrival.max(moment);
    }

    /// Whether a segment is due at `now`.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.under_way.front().is_some_and(|(arrival, _)| *arrival <= now)
    }

    /// Lets the segments that are due at `now` arrive.
    pub(super) fn arrive(&mut self, now: Moment) {
        self.lost = 0;
        while self.under_way.front().is_some_and(|(arrival, _)| *arrival <= now) {
            let Some((_, segment)) = self.under_way.pop_front() else { return };
            match segment {
                Segment::Bytes(bytes) => self.keep(bytes),
                Segment::Message(bytes, descriptors) => {
                    let begin = self.taken + self.unread as u64;
                    let end = begin + bytes.len() as u64;
                    self.keep(bytes);
                    self.messages.push_back(Message { begin, end, descriptors });
                }
                Segment::Fin => self.ended = true,
                Segment::Reset => self.break_off(io::ErrorKind::ConnectionReset),
            }
        }
    }

    fn keep(&mut self, bytes: Bytes) {
        self.unread += bytes.len();
        self.arrived.push_back(bytes);
    }

    /// Lets all segments arrive.
    pub(super) fn arrive_all(&mut self) {
        self.arrive(self.last_arrival);
    }

    /// Loses the segments that are due at `now`, and returns when they are transmitted again.
    ///
    /// Returns `None` if nothing is transmitted again: resets are never repeated, and after many losses the sender
    /// gives up.
    pub(super) fn lose(&mut self, now: Moment) -> Option<Moment> {
        self.under_way.retain(|(_, segment)| !matches!(segment, Segment::Reset));
        self.reset_sent = false;
        let again = now + retransmission_delay(self.lost)?;
        self.lost += 1;
        for (arrival, _) in &mut self.under_way {
            *arrival = again.max(*arrival);
        }
        self.last_arrival = again.max(self.last_arrival);
        (!self.under_way.is_empty()).then_some(again)
    }

    /// Whether a segment waits for its retransmission.
    pub(super) fn is_stalled(&self) -> bool {
        self.lost > 0
    }

    /// Whether the sender waits for an acknowledgement.
    pub(super) fn has_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Drops the segments that have not arrived, but keeps a reset.
    pub(super) fn drop_under_way(&mut self) {
        self.under_way.retain(|(_, segment)| matches!(segment, Segment::Reset));
        self.held = self.unread;
    }

    /// Moves bytes into `buffer`, and returns their number.
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
        self.took(count);
        count
    }

    /// Takes up to `longest` bytes, without a copy.
    pub(super) fn take(&mut self, longest: usize) -> Option<Bytes> {
        let chunk = self.arrived.front_mut()?;
        let part = chunk.split_to(chunk.len().min(longest));
        if chunk.is_empty() {
            self.arrived.pop_front();
        }
        self.took(part.len());
        Some(part)
    }

    fn took(&mut self, count: usize) {
        self.taken += count as u64;
        self.unread -= count;
        self.held -= count;
    }

    /// Returns the number of unread bytes up to the end of the first message with descriptors, if there is one.
    pub(super) fn until_message_end(&self) -> Option<usize> {
        self.messages.front().map(|message| (message.end - self.taken) as usize)
    }

    /// Takes the descriptors of messages whose first byte was read.
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedWaitable> {
        let mut descriptors = Vec::new();
        while let Some(message) = self.messages.front_mut().filter(|message| message.begin < self.taken) {
            descriptors.append(&mut message.descriptors);
            self.messages.pop_front();
        }
        descriptors
    }

    /// Returns the number of bytes that the sender may still send.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held)
    }

    /// Returns the number of bytes that are under way or unread.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Returns the number of bytes in a full pipe.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of bytes that the receiver can take.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Returns the arrival of the first bytes under way.
    pub(super) fn next_bytes(&self) -> Option<Moment> {
        let mut bytes = self.under_way.iter().filter(|(_, segment)| segment.len() > 0);
        bytes.next().map(|(arrival, _)| *arrival)
    }

    /// Whether the end of the stream has arrived. Unread bytes precede it.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Returns the reason why the connection is broken, or `None` for an intact connection.
    pub(super) fn broken(&self) -> Option<io::ErrorKind> {
        self.broken
    }

    /// Whether reading would return bytes, the end or an error.
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ended || self.broken.is_some()
    }

    /// Breaks the connection for `reason`. Bytes under way are lost. Bytes that have arrived precede the error, as on Linux.
    pub(super) fn break_off(&mut self, reason: io::ErrorKind) {
        self.broken = Some(reason);
        self.under_way.clear();
        self.held = self.unread;
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
    fn segments_arrive_in_the_order_of_sending() {
        let mut pipe = Pipe::new(100, Moment::ZERO);
        assert_eq!(pipe.send(bytes("slow"), at(9)), Some(at(9)));
        assert_eq!(pipe.send(bytes("fast"), at(3)), Some(at(9)));
        pipe.arrive(at(8));
        assert!(!pipe.is_readable());
        pipe.arrive(at(9));
        assert_eq!(read_all(&mut pipe), b"slowfast");
    }

    #[test]
    fn the_end_comes_after_all_bytes() {
        let mut pipe = Pipe::new(100, Moment::ZERO);
        pipe.send(bytes("last"), at(1));
        pipe.send(Segment::Fin, at(1));
        pipe.arrive(at(1));
        assert!(pipe.is_ended());
        assert_eq!(pipe.unread(), 4);
        assert_eq!(read_all(&mut pipe), b"last");
    }

    #[cfg(unix)]
    #[test]
    fn descriptors_come_with_the_first_byte_of_their_message() {
        let message = |text: &'static str| {
            let null = std::fs::File::open("/dev/null").unwrap();
            Segment::Message(Bytes::from_static(text.as_bytes()), vec![null.into()])
        };
        let mut pipe = Pipe::new(100, Moment::ZERO);
        for segment in [bytes("AA"), message("B"), bytes("CC"), message("D")] {
            pipe.send(segment, at(1));
        }
        pipe.arrive(at(1));
        // unix(7): plain bytes join the message behind them.
        for expected in [&b"AAB"[..], b"CCD"] {
            assert!(pipe.take_descriptors().is_empty());
            let mut buffer = vec![0; pipe.until_message_end().unwrap()];
            pipe.read(&mut buffer);
            assert_eq!((&*buffer, pipe.take_descriptors().len()), (expected, 1));
        }
        assert_eq!(pipe.until_message_end(), None);
    }

    #[test]
    fn bytes_that_are_read_make_room() {
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
    fn a_reset_drops_only_bytes_under_way() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        // tcp_reset of Linux purges the queue of the sender, but not the queue of the receiver.
        pipe.send(bytes("unread"), at(1));
        pipe.send(Segment::Reset, at(2));
        assert_eq!(pipe.send(bytes("late"), at(3)), None);
        pipe.arrive(at(1));
        assert_eq!(pipe.unread(), 6);
        pipe.arrive(at(2));
        assert_eq!(pipe.broken(), Some(io::ErrorKind::ConnectionReset));
        assert_eq!((pipe.unread(), pipe.room()), (6, 4));
        assert_eq!(read_all(&mut pipe), b"unread");
    }

    #[test]
    fn a_second_reset_is_not_sent() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("lost"), at(1));
        pipe.send(Segment::Reset, at(2));
        pipe.drop_under_way();
        assert_eq!(pipe.send(Segment::Reset, at(3)), None);
        pipe.arrive(at(2));
        assert_eq!(pipe.broken(), Some(io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn dropped_bytes_under_way_make_room() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("here"), at(1));
        pipe.send(bytes("there"), at(5));
        pipe.arrive(at(1));
        pipe.drop_under_way();
        pipe.arrive(at(9));
        assert_eq!(pipe.room(), 6);
        assert_eq!(read_all(&mut pipe), b"here");
    }

    #[test]
    fn lost_bytes_are_sent_again_but_not_lost_resets() {
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("lost"), at(1));
        pipe.send(Segment::Reset, at(1));
        let again = pipe.lose(at(1)).unwrap();
        assert_eq!(again, at(1) + FIRST_RETRANSMISSION);
        pipe.arrive(at(2));
        assert!(!pipe.is_readable());
        pipe.arrive(again);
        assert_eq!((read_all(&mut pipe).as_slice(), pipe.broken()), (&b"lost"[..], None));
    }

    #[test]
    fn a_sender_gives_up_after_924_seconds() {
        // tcp(7), tcp_retries2: "the default value of 15 ... a hypothetical timeout of 924.6 seconds".
        let mut pipe = Pipe::new(10, Moment::ZERO);
        pipe.send(bytes("lost"), Moment::ZERO);
        let last = std::iter::successors(Some(Moment::ZERO), |&now| pipe.lose(now)).last().unwrap();
        assert_eq!(last, Moment::ZERO + Duration::from_millis(924_600));
    }
}
