//! A layer for tests. It scrambles the data in frames with a length, and has frames that open and close a connection.
//!
//! ```text
//!   hello:  'H'              sent at once; the layer is open when the peer's has come
//!   data:   'D' length(2) bytes, each xor 0x5a
//!   close:  'C'              nothing follows
//!   error:  'E'              the final byte of a layer that received anything else; it makes the peer's layer fail
//! ```

use std::any::Any;
use std::io;

use ropewalk::proto::{Layer, LayerState, Outbox};

const KEY: u8 = 0x5a;

/// The longest data frame.
const FRAME_MAX: usize = 1000;

/// One end of a scrambled connection.
#[derive(Default)]
pub struct Scrambler {
    state: LayerState,
    has_greeted: bool,
}

impl Scrambler {
    /// Returns an end that has not greeted yet.
    pub fn new() -> Box<Scrambler> {
        Box::default()
    }

    /// Returns the bytes with which a peer greets and sends `data`.
    pub fn greeting_with(data: &[u8]) -> Vec<u8> {
        [b"H", &*frame(data)].concat()
    }
}

/// Returns the frame that carries `data`.
///
/// # Panics
/// If `data` has more than 65535 bytes.
pub fn frame(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a frame is short").to_be_bytes();
    let scrambled: Vec<u8> = data.iter().map(|byte| byte ^ KEY).collect();
    [b"D", &length[..], &scrambled].concat()
}

impl Layer for Scrambler {
    fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) -> io::Result<usize> {
        let mut taken = 0;
        while taken < received.len() {
            if self.state.contains(LayerState::PEER_ENDED) {
                return Ok(received.len());
            }
            let rest = &mut received[taken..];
            match (rest[0], self.state.contains(LayerState::OPEN)) {
                (b'H', false) => {
                    self.state |= LayerState::OPEN;
                    taken += 1;
                }
                (b'C', true) => {
                    self.state |= LayerState::PEER_ENDED;
                    taken += 1;
                }
                (b'D', true) => {
                    let Some(&[high, low]) = rest.get(1..3) else { return Ok(taken) };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    let Some(data) = rest.get_mut(3..3 + length) else { return Ok(taken) };
                    data.iter_mut().for_each(|byte| *byte ^= KEY);
                    plain.write(data);
                    taken += 3 + length;
                }
                (b'E', _) => return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer refused a frame")),
                _ => {
                    queue.write(b"E");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame"));
                }
            }
        }
        Ok(taken)
    }

    fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no close frame"))
    }

    fn outgoing(&mut self, _held: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, most: usize) -> io::Result<()> {
        if !self.has_greeted {
            self.has_greeted = true;
            queue.write(b"H");
        }
        while !plain.is_empty() && queue.len() < most {
            let piece = plain.front();
            let piece = &piece[..piece.len().min(FRAME_MAX)];
            queue.write(&frame(piece));
            let count = piece.len();
            plain.advance(count);
        }
        Ok(())
    }

    fn close(&mut self, _held: &mut [u8], queue: &mut Outbox) {
        queue.write(b"C");
    }

    fn state(&self) -> LayerState {
        self.state
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
