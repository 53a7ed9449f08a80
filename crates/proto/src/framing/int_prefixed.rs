//! Strings with a big-endian length of one, two or four bytes before them.
//!
//! ```text
//!   00 05 h e l l o 00 02 h i      Int16StringReceiver
//! ```
//!
//! Source: `Int8StringReceiver`, `Int16StringReceiver` and `Int32StringReceiver` of `twisted.protocols.basic`.

use std::fmt;
use std::marker::PhantomData;

use super::Decoder;
use super::partial::Partial;

/// The default maximum length of a string.
const MAX_LENGTH: usize = 99_999;

/// An unsigned integer that can be the length of a string: `u8`, `u16` or `u32`.
///
/// ```
/// use ropewalk_proto::framing::LengthPrefix;
///
/// assert_eq!(u16::to_bytes(258), Some([1, 2]));
/// assert_eq!((u8::MAX as usize, u8::to_bytes(256)), (<u8 as LengthPrefix>::MAX, None));
/// ```
pub trait LengthPrefix: sealed::Sealed {
    /// The array of the integer's bytes.
    type Bytes: AsRef<[u8]> + fmt::Debug + Copy;

    /// The maximum length of a string with this prefix, in bytes.
    const MAX: usize;

    /// Returns the big-endian bytes of `length`, or `None` if it exceeds [`MAX`](LengthPrefix::MAX).
    fn to_bytes(length: usize) -> Option<Self::Bytes>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! length_prefix {
    ($($integer:ty),*) => { $(
        impl sealed::Sealed for $integer {}

        impl LengthPrefix for $integer {
            type Bytes = [u8; size_of::<$integer>()];

            const MAX: usize = <$integer>::MAX as usize;

            fn to_bytes(length: usize) -> Option<Self::Bytes> {
                <$integer>::try_from(length).ok().map(<$integer>::to_be_bytes)
            }
        }
    )* };
}

length_prefix!(u8, u16, u32);

/// Decodes strings with a length of type `P` before them.
///
/// An error is final, because the rejected string is not skipped. Each further call returns the same error.
///
/// Calls no callbacks, and may be sent to another thread.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, IntPrefixedDecoder};
///
/// let mut decoder = IntPrefixedDecoder::<u16>::with(100);
/// let mut input = &b"\0\x04rope\0\x04wa"[..];
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"rope"[..]));
/// assert_eq!(decoder.decode(&mut input)?, None); // the rest comes later
/// assert!(decoder.buffered() <= decoder.buffered_max());
/// assert_eq!(decoder.decode(&mut &b"lk"[..])?, Some(&b"walk"[..]));
/// # Ok::<(), ropewalk_proto::framing::LengthLimitExceeded>(())
/// ```
pub struct IntPrefixedDecoder<P> {
    max_length: usize,
    /// The value of the prefix bytes read so far.
    length: usize,
    /// The number of prefix bytes read so far.
    prefix_read: usize,
    partial: Partial,
    prefix: PhantomData<P>,
}

/// An [`IntPrefixedDecoder`] with a length of one byte.
pub type Int8Decoder = IntPrefixedDecoder<u8>;
/// An [`IntPrefixedDecoder`] with a length of two bytes.
pub type Int16Decoder = IntPrefixedDecoder<u16>;
/// An [`IntPrefixedDecoder`] with a length of four bytes.
pub type Int32Decoder = IntPrefixedDecoder<u32>;

/// The length of a received string exceeds the maximum.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, Int32Decoder};
///
/// let mut decoder = Int32Decoder::with(1000);
/// let error = decoder.decode(&mut &b"\xff\xff\xff\xff"[..]).unwrap_err();
/// assert_eq!((error.length, error.max_length), (0xffff_ffff, decoder.max_length()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthLimitExceeded {
    /// The received length, in bytes.
    pub length: usize,
    /// The maximum length of a string, in bytes.
    pub max_length: usize,
}

impl fmt::Display for LengthLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received a string length of {} bytes: the limit is {}", self.length, self.max_length)
    }
}

impl std::error::Error for LengthLimitExceeded {}

/// A string is too long for its length prefix.
///
/// ```
/// use ropewalk_proto::framing::int_prefix;
///
/// let error = int_prefix::<u8>(256).unwrap_err();
/// assert_eq!((error.length, error.max_length), (256, 255));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringTooLong {
    /// The length of the string, in bytes.
    pub length: usize,
    /// The maximum length with this prefix, in bytes.
    pub max_length: usize,
}

impl fmt::Display for StringTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "string of {} bytes is too long for its length prefix: the limit is {}", self.length, self.max_length)
    }
}

impl std::error::Error for StringTooLong {}

impl<P: LengthPrefix> Default for IntPrefixedDecoder<P> {
    fn default() -> IntPrefixedDecoder<P> {
        IntPrefixedDecoder::new()
    }
}

impl<P: LengthPrefix> IntPrefixedDecoder<P> {
    /// Creates a decoder of strings of at most 99999 bytes, or the maximum of the prefix if that is less.
    pub fn new() -> IntPrefixedDecoder<P> {
        IntPrefixedDecoder::with(MAX_LENGTH)
    }

    /// Creates a decoder of strings of at most `max_length` bytes, or the maximum of the prefix if that is less.
    pub fn with(max_length: usize) -> IntPrefixedDecoder<P> {
        let max_length = max_length.min(P::MAX);
        IntPrefixedDecoder { max_length, length: 0, prefix_read: 0, partial: Partial::default(), prefix: PhantomData }
    }

    /// Returns the maximum length of a string, in bytes.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Returns the length of the next string, once its prefix has arrived.
    fn read_length(&mut self, input: &mut &[u8]) -> Result<Option<usize>, LengthLimitExceeded> {
        while self.prefix_read < size_of::<P::Bytes>() {
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.length = self.length << 8 | usize::from(byte);
            self.prefix_read += 1;
        }
        match self.length <= self.max_length {
            true => Ok(Some(self.length)),
            false => Err(LengthLimitExceeded { length: self.length, max_length: self.max_length }),
        }
    }
}

impl<P: LengthPrefix> Decoder for IntPrefixedDecoder<P> {
    type Error = LengthLimitExceeded;

    fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, LengthLimitExceeded> {
        self.partial.release();
        let Some(length) = self.read_length(input)? else { return Ok(None) };
        let Some(string) = self.partial.take(input, length) else { return Ok(None) };
        self.length = 0;
        self.prefix_read = 0;
        Ok(Some(string))
    }

    fn buffered(&self) -> usize {
        self.partial.len()
    }

    fn buffered_max(&self) -> usize {
        self.max_length
    }
}

impl<P> fmt::Debug for IntPrefixedDecoder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("IntPrefixedDecoder");
        shown.field("max_length", &self.max_length).field("length", &self.length);
        shown.field("prefix_read", &self.prefix_read).field("partial", &self.partial).finish()
    }
}

/// Returns the prefix of a string of `length` bytes. To write the string without a copy, write this prefix and then the
/// bytes.
///
/// ```
/// use ropewalk_proto::framing::int_prefix;
///
/// assert_eq!(int_prefix::<u32>(5), Ok([0, 0, 0, 5]));
/// ```
///
/// # Errors
/// If `length` exceeds the maximum of the prefix.
pub fn int_prefix<P: LengthPrefix>(length: usize) -> Result<P::Bytes, StringTooLong> {
    P::to_bytes(length).ok_or(StringTooLong { length, max_length: P::MAX })
}

/// Appends the length of `string`, as a `P`, and `string` itself to `out`.
///
/// ```
/// use ropewalk_proto::framing::encode_int_prefixed;
///
/// let mut out = Vec::new();
/// encode_int_prefixed::<u8>(b"rope", &mut out)?;
/// assert_eq!(out, b"\x04rope");
/// # Ok::<(), ropewalk_proto::framing::StringTooLong>(())
/// ```
///
/// # Errors
/// If the length exceeds the maximum of the prefix. Then `out` is unchanged.
pub fn encode_int_prefixed<P: LengthPrefix>(string: &[u8], out: &mut Vec<u8>) -> Result<(), StringTooLong> {
    let prefix = int_prefix::<P>(string.len())?;
    out.reserve(prefix.as_ref().len() + string.len());
    out.extend_from_slice(prefix.as_ref());
    out.extend_from_slice(string);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::framing::tests::decode_in_chunks;

    #[test]
    fn the_length_is_a_big_endian_integer() {
        assert_eq!(Int8Decoder::new().decode(&mut &b"\x02hi"[..]), Ok(Some(&b"hi"[..])));
        assert_eq!(Int16Decoder::new().decode(&mut &b"\0\x02hi"[..]), Ok(Some(&b"hi"[..])));
        assert_eq!(Int32Decoder::new().decode(&mut &b"\0\0\0\x02hi"[..]), Ok(Some(&b"hi"[..])));
        assert_eq!(int_prefix::<u32>(0x0102_0304), Ok([1, 2, 3, 4]));
    }

    #[test]
    fn a_string_inside_one_chunk_is_borrowed_from_it() {
        let chunk = b"\x05hello\0".to_vec();
        let mut input = &chunk[..];
        let mut decoder = Int8Decoder::new();
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), chunk[1..].as_ptr());
        assert_eq!(decoder.decode(&mut input), Ok(Some(&b""[..])));
        assert_eq!(decoder.decode(&mut input), Ok(None));
    }

    #[test]
    fn a_length_above_the_limit_is_a_final_error() {
        let mut decoder = Int32Decoder::new();
        let error = LengthLimitExceeded { length: 100_000, max_length: 99_999 };
        assert_eq!(decoder.decode(&mut &100_000u32.to_be_bytes()[..]), Err(error));
        assert_eq!(decoder.decode(&mut &b"\0\0\0\x01a"[..]), Err(error));
        assert_eq!(error.to_string(), "received a string length of 100000 bytes: the limit is 99999");
        assert_eq!(Int32Decoder::new().decode(&mut &99_999u32.to_be_bytes()[..]), Ok(None));
    }

    #[test]
    fn the_limit_does_not_exceed_the_maximum_of_the_prefix() {
        assert_eq!(Int8Decoder::new().max_length(), 255);
        assert_eq!(Int16Decoder::new().max_length(), 65_535);
        assert_eq!(Int32Decoder::new().max_length(), 99_999);
    }

    #[test]
    fn a_string_too_long_for_its_prefix_is_not_encoded() {
        let mut out = b"before".to_vec();
        let error = encode_int_prefixed::<u8>(&[0; 256], &mut out).unwrap_err();
        assert_eq!(error, StringTooLong { length: 256, max_length: 255 });
        assert_eq!(error.to_string(), "string of 256 bytes is too long for its length prefix: the limit is 255");
        assert_eq!(out, b"before");
        assert!(encode_int_prefixed::<u16>(&[0; 65_535], &mut out).is_ok());
        assert!(encode_int_prefixed::<u16>(&[0; 65_536], &mut out).is_err());
    }

    fn round_trip<P: LengthPrefix>(strings: &[Vec<u8>], lengths: &[usize]) -> Result<(), TestCaseError> {
        let mut stream = Vec::new();
        for string in strings {
            encode_int_prefixed::<P>(string, &mut stream).unwrap();
        }
        let found = decode_in_chunks(&mut IntPrefixedDecoder::<P>::new(), &stream, lengths, true);
        prop_assert_eq!(found, strings.iter().cloned().map(Ok).collect::<Vec<_>>());
        Ok(())
    }

    fn split_agrees<P: LengthPrefix>(stream: &[u8], lengths: &[usize]) -> Result<(), TestCaseError> {
        let split = decode_in_chunks(&mut IntPrefixedDecoder::<P>::with(20), stream, lengths, true);
        prop_assert_eq!(split, decode_in_chunks(&mut IntPrefixedDecoder::<P>::with(20), stream, &[], true));
        Ok(())
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_strings(
            stream in prop_oneof![vec(any::<u8>(), 0..60), vec(0..4u8, 0..60)],
            lengths in vec(1..8usize, 1..8),
        ) {
            split_agrees::<u8>(&stream, &lengths)?;
            split_agrees::<u16>(&stream, &lengths)?;
            split_agrees::<u32>(&stream, &lengths)?;
        }

        #[test]
        fn encoded_strings_are_decoded_to_themselves(
            strings in vec(vec(any::<u8>(), 0..=255), 0..8),
            lengths in vec(1..100usize, 1..8),
        ) {
            round_trip::<u8>(&strings, &lengths)?;
            round_trip::<u16>(&strings, &lengths)?;
            round_trip::<u32>(&strings, &lengths)?;
        }
    }
}
