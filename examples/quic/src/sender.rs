//! Sending: trains of datagrams, and the rest of a train that the system did not take.

use std::time::Instant;

use quinn_proto::{Connection, Transmit};
use ropewalk::sys::Outgoing;
use ropewalk::{Address, DatagramPort, Error};

/// The most datagrams of a train: UDP_MAX_SEGMENTS of Linux.
const SEGMENTS_MAX: usize = 64;

/// Sends what connections have to send.
#[derive(Default)]
pub(crate) struct Sender {
    buffer: Vec<u8>,
    /// A train of which the system has not taken the bytes behind this position of the buffer.
    rest: Option<(Transmit, usize)>,
}

impl Sender {
    /// Sends everything that `connection` may send now. Returns whether the system has taken all of it.
    pub(crate) fn send_all(&mut self, port: &DatagramPort, connection: &mut Connection, now: Instant) -> bool {
        let segments_max = port.max_segments().min(SEGMENTS_MAX);
        while self.rest.is_none() {
            self.buffer.clear();
            let Some(transmit) = connection.poll_transmit(now, segments_max, &mut self.buffer) else { return true };
            self.send(port, transmit, 0);
        }
        false
    }

    /// Sends the rest that the system did not take.
    pub(crate) fn resume(&mut self, port: &DatagramPort) {
        if let Some((transmit, from)) = self.rest.take() {
            self.send(port, transmit, from);
        }
    }

    fn send(&mut self, port: &DatagramPort, transmit: Transmit, from: usize) {
        let left = send(port, &transmit, &self.buffer[from..transmit.size]);
        if left > 0 {
            let from = transmit.size - left;
            self.rest = Some((transmit, from));
        }
    }
}

/// Sends `bytes`, a number of datagrams of equal length. Returns the number of bytes that the system does not take now.
///
/// A datagram with an error of its own counts as lost on the way: QUIC sends its content again. This is also the way in
/// which a probe of the MTU fails.
pub(crate) fn send(port: &DatagramPort, transmit: &Transmit, bytes: &[u8]) -> usize {
    let to = Address::from(transmit.destination);
    let ecn = transmit.ecn.map_or(0, |mark| mark as u8);
    let mut train = [Outgoing { from: transmit.src_ip, ecn, ..Outgoing::to(b"", &to) }; SEGMENTS_MAX];
    let mut count = 0;
    for (place, bytes) in train.iter_mut().zip(bytes.chunks(transmit.segment_size.unwrap_or(transmit.size).max(1))) {
        place.bytes = bytes;
        count += 1;
    }
    let mut rest = &train[..count];
    while !rest.is_empty() {
        let (sent, outcome) = port.send(rest);
        rest = match outcome {
            Ok(()) => &[],
            Err(Error::SendBufferFull) => return rest[sent..].iter().map(|datagram| datagram.bytes.len()).sum(),
            Err(Error::Closed) => return 0,
            Err(error) => {
                tracing::debug!(%to, %error, "a datagram is lost");
                rest.get(sent + 1..).unwrap_or_default()
            }
        };
    }
    0
}
