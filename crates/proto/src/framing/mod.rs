//! Framing: splits a stream of bytes into messages.
//!
//! ```text
//!   chunks as they arrive     |PASS ali|ce\r\nQUIT\r\n|
//!   frames                     [PASS alice] [QUIT]
//!                               ^ crosses two chunks: joined in the decoder's buffer
//!                                            ^ lies inside one chunk: borrowed from it
//! ```
//!
//! Each decoder is a state machine that implements [`Decoder`]. It buffers at most the beginning of one frame, and that
//! buffer is bounded. A decoder neither reads nor calls back. The caller takes one frame at a time, so it can stop
//! between two frames and keep the rest of its input.
//!
//! The protocols on top are in the reactor's `protocols/basic/`. A format of strings is a `StringFormat` in its
//! `string.rs`. Each decoder has a fuzz target in `fuzz/`.
//!
//! Source: `twisted.protocols.basic`. A [`LineDecoder`] without raw mode is its `LineOnlyReceiver`.

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

/// Decodes frames from a stream that arrives in chunks.
///
/// A decoder calls no callbacks: `decode` returns the frame. Any thread may own a decoder.
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
    /// The error for bytes that are not a frame.
    type Error: std::error::Error;

    /// Removes the next frame from the front of `input`, which must continue the input of the previous call.
    ///
    /// A frame that lies inside `input` is borrowed from it. If this returns `None`, all of `input` was taken, and the
    /// beginning of a frame is buffered for the next call. Otherwise `input` is the rest, after the frame or the error.
    ///
    /// # Errors
    /// If the bytes break the format or its bounds. Each decoder documents how it continues after an error.
    fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, Self::Error>;

    /// Returns the number of buffered bytes of an unfinished frame.
    fn buffered(&self) -> usize;

    /// Returns the upper bound of [`buffered`](Decoder::buffered), for any input.
    ///
    /// ```
    /// use ropewalk_proto::framing::{Decoder, LineDecoder};
    ///
    /// let mut decoder = LineDecoder::with(&b"\n"[..], 80);
    /// let endless = [b'x'; 1000];
    /// let _ = decoder.decode(&mut &endless[..50]);
    /// assert_eq!(decoder.buffered(), 50);
    /// let _ = decoder.decode(&mut &endless[..]);
    /// assert!(decoder.buffered() <= decoder.buffered_max()); // for any input
    /// ```
    fn buffered_max(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `stream` in chunks of these lengths (repeated), and stops at the first error if `final_error` is set.
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
