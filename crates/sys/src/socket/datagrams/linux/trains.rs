//! Trains: datagrams to one destination that pass through the kernel's layers as one message, UDP_SEGMENT of udp(7).
//!
//! ```text
//!   batch    A 1200  A 1200  A 700 | B 1200 | A 1200  A 1200
//!   calls    sendmmsg: one train of three, one alone, one train of two
//! ```
//!
//! Neighbours are alike if they have the same destination, source, interface and mark. Each part of a train is as long
//! as the first, and only the last may be shorter. An empty datagram is never part of a train, because the kernel would
//! leave it out.
//!
//! A refused train has sent nothing. Its first datagram is then sent alone. If that fails as well, the destination is the
//! reason, and trains to other destinations are not affected. Otherwise the socket sends its next datagrams one by one:
//!
//! - EIO means that the network device cannot make checksums. It applies to all trains.
//! - Other errors mean that the parts do not fit into a packet. They apply to parts that are as long or longer.
//!
//! Both depend on the route, so refused trains are tried again after some calls.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::family::Family;
use super::control::UDP_SEGMENT;
use crate::seam::Outgoing;

/// The most parts of a train: UDP_MAX_SEGMENTS of older kernels.
pub(super) const PARTS_MAX: usize = 64;

/// The most bytes of a train. The kernel takes 65,535 with headers.
const TRAIN_BYTES_MAX: usize = 65_000;

/// The number of system calls after which a refused train is tried again.
const PAUSE: u16 = 1000;

/// The trains that a socket may send.
pub(super) struct Trains {
    /// The length of the longest part, apart from refusals. Zero without UDP_SEGMENT.
    longest: usize,
    /// The length of the longest part now.
    part_max: usize,
    /// The number of system calls for which refused trains are not tried.
    pause: u16,
}

impl Trains {
    pub(super) fn of(fd: BorrowedFd<'_>, family: Family) -> Trains {
        let longest = if family.is_inet() && is_known(fd) { TRAIN_BYTES_MAX / 2 } else { 0 };
        Trains { longest, part_max: longest, pause: 0 }
    }

    /// Returns the number of datagrams of the longest train that may leave now.
    pub(super) fn segments_max(&self) -> usize {
        if self.part_max > 0 { PARTS_MAX } else { 1 }
    }

    /// Returns the length of the longest part of a train in the system call that follows.
    #[inline]
    pub(super) fn part_max(&mut self) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            if self.pause == 0 {
                self.part_max = self.longest;
            }
        }
        self.part_max
    }

    /// Notes that the system has refused a train with parts of the length `part`, and has taken the first of them alone.
    #[cold]
    pub(super) fn refused(&mut self, error: &io::Error, part: usize) {
        self.part_max = if error.raw_os_error() == Some(libc::EIO) { 0 } else { part - 1 };
        self.pause = PAUSE;
    }
}

/// Whether the error may mean that the train was refused, and not each of its datagrams.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

/// Whether the system has UDP_SEGMENT, as Linux since 4.18.
fn is_known(fd: BorrowedFd<'_>) -> bool {
    let (mut value, mut length) = (0_i32, 4);
    // SAFETY: the descriptor is open, and the call writes at most `length` bytes.
    let known = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_UDP, UDP_SEGMENT, (&raw mut value).cast(), &raw mut length)
    };
    debug_assert_eq!(size_of_val(&value), 4);
    known == 0
}

/// Returns the number of datagrams at the start of `batch` that make one message.
#[inline]
pub(super) fn message_length(batch: &[Outgoing<'_>], part_max: usize) -> usize {
    let [first, second, ..] = batch else { return batch.len() };
    // Most datagrams of a batch have no train, and are dealt with here.
    if first.bytes.len() > part_max || !extends(first, second) { 1 } else { train_length(batch) }
}

/// Returns the number of datagrams at the start of `batch` that make a train.
fn train_length(batch: &[Outgoing<'_>]) -> usize {
    let (first, part) = (&batch[0], batch[0].bytes.len());
    let most = PARTS_MAX.min(TRAIN_BYTES_MAX / part).min(batch.len());
    let alike = batch[1..most].iter().take_while(|next| extends(first, next)).count();
    // The first shorter one is the last of the train.
    let full = batch[1..=alike].iter().take_while(|next| next.bytes.len() == part).count();
    1 + alike.min(full + 1)
}

/// Whether `next` may follow `first` in its train.
#[inline]
fn extends(first: &Outgoing<'_>, next: &Outgoing<'_>) -> bool {
    let lengths = 1..=first.bytes.len();
    lengths.contains(&next.bytes.len())
        && first.to == next.to
        && (first.from, first.interface, first.ecn) == (next.from, next.interface, next.ecn)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ropewalk_proto::Address;

    use super::*;

    fn lengths(batch: &[Outgoing<'_>], part_max: usize) -> Vec<usize> {
        let (mut rest, mut found) = (batch, Vec::new());
        while !rest.is_empty() {
            found.push(message_length(rest, part_max));
            rest = &rest[found[found.len() - 1]..];
        }
        found
    }

    fn peers() -> [Address; 2] {
        [1, 2].map(|port| Address::from(SocketAddr::from(([127, 0, 0, 1], port))))
    }

    #[test]
    fn neighbours_with_one_destination_make_a_train() {
        let ([a, b], bytes) = (peers(), [0; 1200]);
        let to_a = Outgoing::to(&bytes, &a);
        let short = Outgoing::to(&bytes[..700], &a);
        let batch = [to_a, to_a, short, to_a, Outgoing::to(&bytes, &b), to_a, to_a];
        assert_eq!(lengths(&batch, 65_000), [3, 1, 1, 2]);
        assert_eq!(lengths(&batch, 1199), [1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_longer_datagram_begins_a_new_train() {
        let ([a, _], bytes) = (peers(), [0; 9]);
        let batch = [3, 3, 5, 5, 4, 4].map(|length| Outgoing::to(&bytes[..length], &a));
        assert_eq!(lengths(&batch, 65_000), [2, 3, 1]);
    }

    #[test]
    fn an_empty_datagram_is_not_part_of_a_train() {
        let ([a, _], bytes) = (peers(), [0; 9]);
        let batch = [3, 0, 3, 3, 0, 0].map(|length| Outgoing::to(&bytes[..length], &a));
        assert_eq!(lengths(&batch, 65_000), [1, 1, 2, 1, 1]);
    }

    #[test]
    fn a_train_has_one_mark_with_one_source() {
        let ([a, _], bytes) = (peers(), [0; 9]);
        let plain = Outgoing::to(&bytes, &a);
        let others = [
            Outgoing { ecn: 1, ..plain },
            Outgoing { interface: 2, ..plain },
            Outgoing { from: Some([127, 0, 0, 2].into()), ..plain },
            Outgoing::to_peer(&bytes),
        ];
        for other in others {
            assert_eq!(lengths(&[plain, other, other], 65_000), [1, 2], "{other:?}");
        }
    }

    #[test]
    fn a_train_is_bounded_in_parts_with_bounded_bytes() {
        let ([a, _], bytes) = (peers(), [0; 9000]);
        assert_eq!(lengths(&[Outgoing::to(&bytes[..10], &a); 130], 65_000), [64, 64, 2]);
        assert_eq!(lengths(&[Outgoing::to(&bytes, &a); 10], 65_000), [7, 3]);
    }
}
