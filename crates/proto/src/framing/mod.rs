//! Framing: where one message ends and the next begins in a stream of bytes.
//!
//! ```text
//!   chunks as they arrive     |PASS ali|ce\r\nQUIT\r\n|
//!   frames                     [PASS alice] [QUIT]
//!                               ^ crosses a chunk: joined in the decoder's buffer
//!                                            ^ inside one chunk: borrowed from it
//! ```
//!
//! Each decoder is a state machine from bytes to frames with one shape, [`Decoder`], and holds nothing but the beginning
//! of one frame, within a bound. It neither reads nor calls back: the caller asks for one frame at a time, so that it can
//! stop between two of them (a paused consumer) and keep the rest of its input for later.
//!
//! Source: twisted.protocols.basic. Its `LineOnlyReceiver` is [`LineDecoder`] whose raw mode nobody uses.

mod int_prefixed;
mod line;
mod netstring;
mod partial;

pub use int_prefixed::{
    Int8Decoder, Int16Decoder, Int32Decoder, IntPrefixedDecoder, LengthLimitExceeded, LengthPrefix, StringTooLong,
    encode_int_prefixed, int_prefix,
};
pub use line::{LineDecoder, LineTooLong, encode_line};
pub use netstring::{NetstringDecoder, NetstringHeader, NetstringParseError, encode_netstring};

/// Takes frames out of a stream that arrives in chunks.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, LineDecoder};
///
/// let mut decoder = LineDecoder::new();
/// let mut lines = Vec::new();
/// for chunk in [&b"PASS ali"[..], b"ce\r\nQUIT\r\n"] {
///     let mut input = chunk;
///     while let Some(line) = decoder.decode(&mut input)? {
///         lines.push(line.to_vec());
///     }
/// }
/// assert_eq!(lines, [&b"PASS alice"[..], b"QUIT"]);
/// # Ok::<(), ropewalk_proto::framing::LineTooLong>(())
/// ```
pub trait Decoder {
    /// Why the stream holds no frame here.
    type Error: std::error::Error;

    /// Takes the next frame off the front of `input`, which must continue where the last one ended.
    ///
    /// A frame that lies wholly inside `input` is borrowed from it. With `None`, all of `input` was taken, and what it
    /// held of a frame is kept for the next call. With a frame or an error, `input` is what follows.
    ///
    /// # Errors
    /// When the bytes break the format or its bounds. Each decoder says what comes after an error.
    fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, Self::Error>;

    /// How many bytes of an unfinished frame it holds.
    fn buffered(&self) -> usize;

    /// How many bytes it ever holds, whatever arrives.
    ///
    /// ```
    /// use ropewalk_proto::framing::{Decoder, LineDecoder};
    ///
    /// let mut decoder = LineDecoder::with(&b"\n"[..], 80);
    /// let endless = [b'x'; 1000];
    /// let _ = decoder.decode(&mut &endless[..50]);
    /// assert_eq!(decoder.buffered(), 50);
    /// let _ = decoder.decode(&mut &endless[..]);
    /// assert!(decoder.buffered() <= decoder.buffered_max()); // whatever arrives
    /// ```
    fn buffered_max(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of `stream`, cut into chunks of these lengths (repeated), up to the first error if that is final.
    pub(super) fn decode_in_chunks<D: Decoder>(
        decoder: &mut D,
        stream: &[u8],
        lengths: &[usize],
        final_error: bool,
    ) -> Vec<Result<Vec<u8>, String>> {
        let mut frames = Vec::new();
        let mut lengths = lengths.iter().copied().chain([usize::MAX]).cycle();
        let mut left = stream;
        while !left.is_empty() {
            let length = lengths.next().unwrap_or(1).clamp(1, left.len());
            let (mut input, rest) = left.split_at(length);
            left = rest;
            loop {
                let frame = decoder.decode(&mut input);
                let ended = matches!(frame, Ok(None));
                let failed = frame.is_err();
                frames.extend(frame.map(|frame| frame.map(<[u8]>::to_vec)).map_err(|e| e.to_string()).transpose());
                assert!(decoder.buffered() <= decoder.buffered_max(), "{} bytes held", decoder.buffered());
                if failed && final_error {
                    return frames;
                }
                if ended {
                    assert!(input.is_empty(), "{} bytes left behind", input.len());
                    break;
                }
            }
        }
        frames
    }
}
