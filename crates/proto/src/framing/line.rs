//! Lines: bytes up to a delimiter.
//!
//! ```text
//!            delimiter: line          max_length + delimiter bytes without one: error
//!            +------+                +------------------------+
//!            v      |                |                        v
//!            +--- IN LINE -----------+                    SKIPPING --+
//!                   ^                                         |  ^   | anything else: dropped
//!                   +------------- delimiter -----------------+  +---+
//! ```
//!
//! Source: `LineReceiver` of `twisted.protocols.basic`. There the rest of an over-long line is a new line, in which a
//! peer can hide a command. Here the rest is skipped.

use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;

use super::Decoder;
use super::partial::Partial;

/// The default delimiter.
const DELIMITER: &[u8] = b"\r\n";
/// The default maximum length of a line.
const MAX_LENGTH: usize = 16384;

/// Decodes lines.
///
/// After an error, the rest of the over-long line is skipped, and decoding continues with the next line.
///
/// Calls no callbacks, and may be sent to another thread.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, LineDecoder};
///
/// let mut decoder = LineDecoder::with(&b"\n"[..], 80);
/// let mut input = &b"one\ntwo\nthr"[..];
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"one"[..]));
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"two"[..]));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// decoder.clear(); // drops the unfinished third line
/// assert_eq!((decoder.delimiter(), decoder.max_length(), decoder.buffered()), (&b"\n"[..], 80, 0));
/// # Ok::<(), ropewalk_proto::framing::LineTooLong>(())
/// ```
#[derive(Debug)]
pub struct LineDecoder {
    delimiter: Cow<'static, [u8]>,
    max_length: usize,
    partial: Partial,
    /// Whether an over-long line was reported and its delimiter has not come.
    skipping: bool,
}

/// A line is longer than the maximum.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, LineDecoder};
///
/// let mut decoder = LineDecoder::with(&b"\n"[..], 5);
/// let mut input = &b"a whole sentence\nshort\n"[..];
/// let error = decoder.decode(&mut input).unwrap_err();
/// assert_eq!((&error.beginning[..], error.max_length), (&b"a whol"[..], 5));
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"short"[..])); // the rest of the sentence is skipped
/// # Ok::<(), ropewalk_proto::framing::LineTooLong>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The beginning of the line, up to the maximum length of a line and its delimiter.
    pub beginning: Vec<u8>,
    /// The maximum length of a line, in bytes.
    pub max_length: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.beginning[..self.beginning.len().min(32)];
        write!(f, "line longer than {} bytes, which begins with \"{}\"", self.max_length, shown.escape_ascii())
    }
}

impl std::error::Error for LineTooLong {}

impl Default for LineDecoder {
    fn default() -> LineDecoder {
        LineDecoder::new()
    }
}

impl LineDecoder {
    /// Creates a decoder of lines of at most 16384 bytes that end with `\r\n`.
    pub fn new() -> LineDecoder {
        LineDecoder::with(DELIMITER, MAX_LENGTH)
    }

    /// Creates a decoder of lines of at most `max_length` bytes, without their `delimiter`.
    ///
    /// # Panics
    /// If `delimiter` is empty.
    pub fn with(delimiter: impl Into<Cow<'static, [u8]>>, max_length: usize) -> LineDecoder {
        let delimiter = delimiter.into();
        assert!(!delimiter.is_empty(), "a line delimiter needs at least one byte");
        LineDecoder { delimiter, max_length, partial: Partial::default(), skipping: false }
    }

    /// Takes raw bytes: first the buffered beginning of a line, then all of `input`. Returns `None` if both are empty.
    ///
    /// This is the raw mode of `LineReceiver`. Each call may ask for a line or for raw bytes.
    ///
    /// ```
    /// use ropewalk_proto::framing::{Decoder, LineDecoder};
    ///
    /// let mut decoder = LineDecoder::new();
    /// let mut input = &b"DATA\r\n\x01\x02"[..];
    /// assert_eq!(decoder.decode(&mut input)?, Some(&b"DATA"[..]));
    /// assert_eq!(decoder.take_raw(&mut input), Some(&[1, 2][..]));
    /// assert_eq!(decoder.take_raw(&mut input), None);
    /// # Ok::<(), ropewalk_proto::framing::LineTooLong>(())
    /// ```
    pub fn take_raw<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<&'a [u8]> {
        self.partial.release();
        if std::mem::take(&mut self.skipping) {
            self.partial.clear();
        }
        if !self.partial.bytes().is_empty() {
            return Some(self.partial.hand_out());
        }
        let raw = std::mem::take(input);
        (!raw.is_empty()).then_some(raw)
    }

    /// Drops the buffered beginning of a line. The next byte starts a new line.
    pub fn clear(&mut self) {
        self.partial.clear();
        self.skipping = false;
    }

    /// Returns the bytes that end a line.
    pub fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    /// Returns the maximum length of a line in bytes, without its delimiter.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Skips the rest of an over-long line. Returns whether its delimiter was found.
    fn skip(&mut self, input: &mut &[u8]) -> bool {
        let end = self.find_end(input);
        match end {
            Some(end) => {
                self.clear();
                *input = &input[end..];
            }
            // The end of `input` may be the beginning of the delimiter.
            None => self.partial.keep_last(std::mem::take(input), self.delimiter.len() - 1),
        }
        end.is_some()
    }

    fn too_long(&mut self, window: &[u8]) -> LineTooLong {
        let beginning = [self.partial.bytes(), window].concat();
        self.skipping = true;
        self.partial.keep_last(window, self.delimiter.len() - 1);
        LineTooLong { beginning, max_length: self.max_length }
    }

    /// Returns the end of the first delimiter in `fresh`. The delimiter may begin in the buffer, which is not searched
    /// again.
    fn find_end(&self, fresh: &[u8]) -> Option<usize> {
        let (&last, head) = self.delimiter.split_last()?;
        let mut end = 0;
        loop {
            end += find(last, &fresh[end..])? + 1;
            let (before, inside) = head.split_at(head.len().saturating_sub(end - 1));
            if fresh[..end - 1].ends_with(inside) && self.partial.bytes().ends_with(before) {
                return Some(end);
            }
        }
    }
}

impl Decoder for LineDecoder {
    type Error = LineTooLong;

    fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, LineTooLong> {
        self.partial.release();
        if self.skipping && !self.skip(input) {
            return Ok(None);
        }
        let room = self.buffered_max().saturating_sub(self.partial.bytes().len());
        let window = &input[..room.min(input.len())];
        match self.find_end(window) {
            Some(end) => {
                *input = &input[end..];
                let line = self.partial.complete(&window[..end]);
                Ok(Some(&line[..line.len() - self.delimiter.len()]))
            }
            None => {
                *input = &input[window.len()..];
                if window.len() == room {
                    return Err(self.too_long(window));
                }
                let bound = self.buffered_max();
                self.partial.append(window, bound);
                Ok(None)
            }
        }
    }

    fn buffered(&self) -> usize {
        self.partial.len()
    }

    fn buffered_max(&self) -> usize {
        self.max_length.saturating_add(self.delimiter.len())
    }
}

/// Appends `line` and `delimiter` to `out`. Does not check whether `line` contains the delimiter.
///
/// ```
/// use ropewalk_proto::framing::encode_line;
///
/// let mut out = Vec::new();
/// encode_line(b"HELO rope", b"\r\n", &mut out);
/// assert_eq!(out, b"HELO rope\r\n");
/// ```
pub fn encode_line(line: &[u8], delimiter: &[u8], out: &mut Vec<u8>) {
    out.reserve(line.len() + delimiter.len());
    out.extend_from_slice(line);
    out.extend_from_slice(delimiter);
}

/// Returns the index of the first `byte`. `skip_until` is the standard library's only public access to its memchr.
fn find(byte: u8, haystack: &[u8]) -> Option<usize> {
    let mut unread = haystack;
    let skipped = unread.skip_until(byte).ok()?;
    (haystack[..skipped].last() == Some(&byte)).then(|| skipped - 1)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::framing::tests::decode_in_chunks;

    fn lines(decoder: &mut LineDecoder, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut input = chunk;
        std::iter::from_fn(|| decoder.decode(&mut input).unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_line_inside_one_chunk_is_borrowed_from_it() {
        let mut decoder = LineDecoder::new();
        let chunk = b"first\r\nsecond\r\n".to_vec();
        let mut input = &chunk[..];
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), chunk.as_ptr());
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), chunk[7..].as_ptr());
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn a_line_across_two_chunks_is_joined() {
        let mut decoder = LineDecoder::new();
        assert!(lines(&mut decoder, b"one\r").is_empty());
        let chunk = b"\ntwo\r\n".to_vec();
        let mut input = &chunk[..];
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap(), b"one");
        assert_eq!(decoder.buffered(), 0);
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), chunk[1..].as_ptr());
    }

    #[test]
    fn a_caller_can_stop_between_two_lines() {
        let mut decoder = LineDecoder::new();
        let mut input = &b"one\r\ntwo\r\nthr"[..];
        assert_eq!(decoder.decode(&mut input), Ok(Some(&b"one"[..])));
        let kept = input.to_vec();
        assert_eq!(lines(&mut decoder, &kept), [b"two"]);
        assert_eq!(lines(&mut decoder, b"ee\r\n"), [b"three"]);
    }

    #[test]
    fn a_bare_part_of_the_delimiter_belongs_to_the_line() {
        assert_eq!(lines(&mut LineDecoder::new(), b"\n\r\r\n\r\n\n\r"), [&b"\n\r"[..], b""]);
        let mut decoder = LineDecoder::with(&b"aab"[..], 10);
        assert_eq!(lines(&mut decoder, b"aaaabbaab"), [&b"aa"[..], b"b"]);
    }

    #[test]
    fn a_line_one_byte_over_the_limit_is_an_error() {
        for chunk in [1, 2, 3, 100] {
            let mut decoder = LineDecoder::with(&b"\r\n"[..], 3);
            let found = decode_in_chunks(&mut decoder, b"abc\r\nabcd\r\nxy\r\n", &[chunk], false);
            assert_eq!(found[0], Ok(b"abc".to_vec()));
            assert_eq!(found[1], Err("line longer than 3 bytes, which begins with \"abcd\\r\"".into()));
            assert_eq!(found[2..], [Ok(b"xy".to_vec())]);
        }
    }

    #[test]
    fn an_endless_line_is_reported_once() {
        let mut decoder = LineDecoder::new();
        let mut errors = 0;
        for _ in 0..1000 {
            let mut input = &[b'x'; 1000][..];
            match decoder.decode(&mut input) {
                Ok(line) => assert_eq!(line, None),
                Err(error) => {
                    assert_eq!(error.beginning, vec![b'x'; MAX_LENGTH + 2]);
                    errors += 1;
                }
            }
            assert!(decoder.buffered() <= MAX_LENGTH + 2);
        }
        assert_eq!(errors, 1);
        assert_eq!(lines(&mut decoder, b"x\r\nnext\r\n"), [b"next"]);
    }

    #[test]
    fn raw_bytes_begin_with_the_buffered_part_of_a_line() {
        let mut decoder = LineDecoder::new();
        assert!(lines(&mut decoder, b"par").is_empty());
        let mut input = &b"tial\r\n"[..];
        assert_eq!(decoder.take_raw(&mut input), Some(&b"par"[..]));
        assert_eq!(decoder.take_raw(&mut input), Some(&b"tial\r\n"[..]));
        assert_eq!(decoder.take_raw(&mut input), None);
        assert_eq!(lines(&mut decoder, b"line\r\n"), [b"line"]);
    }

    #[test]
    fn raw_bytes_after_a_line_are_the_rest_of_the_chunk() {
        let mut decoder = LineDecoder::new();
        let mut input = &b"DATA\r\nraw\r\nbytes"[..];
        assert_eq!(decoder.decode(&mut input), Ok(Some(&b"DATA"[..])));
        assert_eq!(decoder.take_raw(&mut input), Some(&b"raw\r\nbytes"[..]));
    }

    #[test]
    fn raw_bytes_after_an_over_long_line_follow_its_reported_part() {
        let mut decoder = LineDecoder::with(&b"\r\n"[..], 1);
        let mut input = &b"abcdef"[..];
        assert_eq!(decoder.decode(&mut input).unwrap_err().beginning, b"abc");
        assert_eq!(decoder.take_raw(&mut input), Some(&b"def"[..]));
        assert_eq!(lines(&mut decoder, b"g\r\n"), [b"g"]);
    }

    #[test]
    fn clear_drops_the_unfinished_line() {
        let mut decoder = LineDecoder::new();
        assert!(lines(&mut decoder, b"forgotten").is_empty());
        decoder.clear();
        assert_eq!(lines(&mut decoder, b"line\r\n"), [b"line"]);
    }

    #[test]
    #[should_panic(expected = "a line delimiter needs at least one byte")]
    fn an_empty_delimiter_panics() {
        LineDecoder::with(&b""[..], 1);
    }

    /// Decodes the whole stream at once: the bytes before each delimiter, unless they are too many.
    fn model(mut stream: &[u8], delimiter: &[u8], max_length: usize) -> Vec<Result<Vec<u8>, usize>> {
        let mut found = Vec::new();
        loop {
            let at = stream.windows(delimiter.len()).position(|window| window == delimiter);
            let length = at.unwrap_or(stream.len());
            if length > max_length && stream.len() >= max_length + delimiter.len() {
                found.push(Err(max_length));
            } else if at.is_some() {
                found.push(Ok(stream[..length].to_vec()));
            }
            let Some(at) = at else { return found };
            stream = &stream[at + delimiter.len()..];
        }
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_lines(
            stream in vec(prop_oneof![Just(b'\r'), Just(b'\n'), b'a'..=b'c'], 0..80),
            delimiter in prop_oneof![Just("\r\n"), Just("\n"), Just("aab"), Just("aa"), Just("abab")],
            max_length in 0..12usize,
            lengths in vec(1..20usize, 1..8),
        ) {
            let mut decoder = LineDecoder::with(delimiter.as_bytes(), max_length);
            let split = decode_in_chunks(&mut decoder, &stream, &lengths, false);
            let whole = decode_in_chunks(&mut LineDecoder::with(delimiter.as_bytes(), max_length), &stream, &[], false);
            prop_assert_eq!(&split, &whole);
            let split: Vec<_> = split.into_iter().map(|line| line.map_err(|_| max_length)).collect();
            prop_assert_eq!(split, model(&stream, delimiter.as_bytes(), max_length));
        }

        #[test]
        fn alternating_raw_bytes_with_lines_loses_nothing(
            chunks in vec(vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..10), 0..10),
            raw in vec(any::<bool>(), 40),
        ) {
            let mut decoder = LineDecoder::with(&b"\n"[..], 1000);
            let mut raw = raw.into_iter().cycle();
            let mut out = Vec::new();
            for chunk in &chunks {
                let mut input = &chunk[..];
                while !input.is_empty() {
                    if raw.next() == Some(true) {
                        out.extend_from_slice(decoder.take_raw(&mut input).unwrap_or_default());
                    } else if let Some(line) = decoder.decode(&mut input).unwrap() {
                        encode_line(line, b"\n", &mut out);
                    }
                }
            }
            out.extend_from_slice(decoder.take_raw(&mut &[][..]).unwrap_or_default());
            prop_assert_eq!(out, chunks.concat());
        }

        #[test]
        fn encoded_lines_are_decoded_to_themselves(
            texts in vec("[^\r\n]{0,20}", 0..10),
            lengths in vec(1..30usize, 1..5),
        ) {
            let mut stream = Vec::new();
            for text in &texts {
                encode_line(text.as_bytes(), DELIMITER, &mut stream);
            }
            let found = decode_in_chunks(&mut LineDecoder::new(), &stream, &lengths, false);
            prop_assert_eq!(found, texts.into_iter().map(|text| Ok(text.into_bytes())).collect::<Vec<_>>());
        }
    }
}
