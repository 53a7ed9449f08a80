//! Netstrings: `5:hello,`, a decimal length, a colon, that many bytes and a comma.
//!
//! The decoder is strict: a length has no sign, leading zero or space. A length above the maximum is rejected at the
//! first digit that exceeds it.
//!
//! Source: <https://cr.yp.to/proto/netstrings.txt> and `NetstringReceiver` of `twisted.protocols.basic`.

use std::fmt;

use super::Decoder;
use super::partial::Partial;

/// The default maximum length of a string.
const MAX_LENGTH: usize = 99_999;

/// Decodes netstrings.
///
/// An error is final, because the beginning of the next string is unknown. Each further call returns the same error.
///
/// Calls no callbacks, and may be sent to another thread.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, NetstringDecoder};
///
/// let mut decoder = NetstringDecoder::with(100);
/// let mut input = &b"4:rope,4:walk,"[..];
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"rope"[..]));
/// assert_eq!(decoder.decode(&mut input)?, Some(&b"walk"[..]));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// # Ok::<(), ropewalk_proto::framing::NetstringParseError>(())
/// ```
#[derive(Debug)]
pub struct NetstringDecoder {
    max_length: usize,
    state: State,
    partial: Partial,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the colon. The value of the digits so far, if there are any.
    Length(Option<usize>),
    /// After the colon of a string with this length.
    Payload(usize),
    Broken(NetstringParseError),
}

/// The bytes are not a valid netstring.
///
/// ```
/// use ropewalk_proto::framing::{Decoder, NetstringDecoder, NetstringParseError};
///
/// let mut decoder = NetstringDecoder::with(100);
/// let error = decoder.decode(&mut &b"101:"[..]).unwrap_err();
/// assert!(matches!(error, NetstringParseError::TooLong { max_length } if max_length == decoder.max_length()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetstringParseError {
    /// A length contains a byte that is neither a digit nor the colon, or the colon comes before any digit.
    Length {
        /// The unexpected byte.
        found: u8,
    },
    /// A length of several digits begins with a zero.
    LeadingZero,
    /// A string is longer than the maximum.
    TooLong {
        /// The maximum length of a string, in bytes.
        max_length: usize,
    },
    /// A string is not followed by a comma.
    Comma {
        /// The byte in place of the comma.
        found: u8,
    },
}

impl fmt::Display for NetstringParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NetstringParseError::Length { found } => {
                write!(f, "unexpected '{}' in the length of a netstring: expected a digit", found.escape_ascii())
            }
            NetstringParseError::LeadingZero => f.write_str("leading zero in the length of a netstring"),
            NetstringParseError::TooLong { max_length } => write!(f, "netstring longer than {max_length} bytes"),
            NetstringParseError::Comma { found } => {
                write!(f, "unexpected '{}' at the end of a netstring: expected ','", found.escape_ascii())
            }
        }
    }
}

impl std::error::Error for NetstringParseError {}

impl Default for NetstringDecoder {
    fn default() -> NetstringDecoder {
        NetstringDecoder::new()
    }
}

impl NetstringDecoder {
    /// Creates a decoder of strings of at most 99999 bytes.
    pub fn new() -> NetstringDecoder {
        NetstringDecoder::with(MAX_LENGTH)
    }

    /// Creates a decoder of strings of at most `max_length` bytes.
    pub fn with(max_length: usize) -> NetstringDecoder {
        // The length with its comma must fit in a `usize`.
        let max_length = max_length.min(usize::MAX - 1);
        NetstringDecoder { max_length, state: State::Length(None), partial: Partial::default() }
    }

    /// Returns the maximum length of a string, in bytes.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Returns the length of the next string, once its colon has arrived.
    fn read_length(&mut self, input: &mut &[u8]) -> Result<Option<usize>, NetstringParseError> {
        loop {
            let value = match self.state {
                State::Length(value) => value,
                State::Payload(length) => return Ok(Some(length)),
                State::Broken(error) => return Err(error),
            };
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.state = match self.next_state(value, byte) {
                Ok(state) => state,
                Err(error) => State::Broken(error),
            };
        }
    }

    fn next_state(&self, value: Option<usize>, byte: u8) -> Result<State, NetstringParseError> {
        match (byte, value) {
            (b':', Some(length)) => Ok(State::Payload(length)),
            (b'0'..=b'9', Some(0)) => Err(NetstringParseError::LeadingZero),
            (b'0'..=b'9', _) => {
                let longer = value.unwrap_or(0).saturating_mul(10).saturating_add((byte - b'0').into());
                match longer <= self.max_length {
                    true => Ok(State::Length(Some(longer))),
                    false => Err(NetstringParseError::TooLong { max_length: self.max_length }),
                }
            }
            (found, _) => Err(NetstringParseError::Length { found }),
        }
    }
}

impl Decoder for NetstringDecoder {
    type Error = NetstringParseError;

    fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, NetstringParseError> {
        self.partial.release();
        let Some(length) = self.read_length(input)? else { return Ok(None) };
        let Some(taken) = self.partial.take(input, length + 1) else { return Ok(None) };
        match taken[length] {
            b',' => {
                self.state = State::Length(None);
                Ok(Some(&taken[..length]))
            }
            found => {
                let error = NetstringParseError::Comma { found };
                self.state = State::Broken(error);
                Err(error)
            }
        }
    }

    fn buffered(&self) -> usize {
        self.partial.len()
    }

    fn buffered_max(&self) -> usize {
        self.max_length
    }
}

/// Appends `string` as a netstring to `out`.
///
/// ```
/// use ropewalk_proto::framing::encode_netstring;
///
/// let mut out = Vec::new();
/// encode_netstring(b"rope", &mut out);
/// assert_eq!(out, b"4:rope,");
/// ```
pub fn encode_netstring(string: &[u8], out: &mut Vec<u8>) {
    let header = NetstringHeader::new(string.len());
    out.reserve(header.as_ref().len() + string.len() + 1);
    out.extend_from_slice(header.as_ref());
    out.extend_from_slice(string);
    out.push(b',');
}

/// The length and the colon of a netstring. To write a string without a copy, write this header, the bytes and a comma.
///
/// ```
/// use ropewalk_proto::framing::NetstringHeader;
///
/// assert_eq!(NetstringHeader::new(1234).as_ref(), b"1234:");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NetstringHeader {
    digits: [u8; NetstringHeader::SIZE],
    begin: usize,
}

impl NetstringHeader {
    /// The number of bytes of the longest 64-bit number and the colon.
    const SIZE: usize = 21;

    /// Creates the header of a string of `length` bytes.
    pub fn new(length: usize) -> NetstringHeader {
        let mut header = NetstringHeader { digits: [b':'; NetstringHeader::SIZE], begin: NetstringHeader::SIZE - 1 };
        let mut left = length;
        loop {
            header.begin -= 1;
            header.digits[header.begin] = b"0123456789"[left % 10];
            left /= 10;
            if left == 0 {
                return header;
            }
        }
    }
}

impl AsRef<[u8]> for NetstringHeader {
    fn as_ref(&self) -> &[u8] {
        &self.digits[self.begin..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::framing::tests::decode_in_chunks;

    fn fails(stream: &[u8]) -> NetstringParseError {
        let mut input = stream;
        let mut decoder = NetstringDecoder::with(50);
        let error = decoder.decode(&mut input).unwrap_err();
        assert_eq!(decoder.decode(&mut &b"1:a,"[..]), Err(error), "an error is final");
        error
    }

    #[test]
    fn a_string_inside_one_chunk_is_borrowed_from_it() {
        let chunk = b"5:hello,0:,".to_vec();
        let mut input = &chunk[..];
        let mut decoder = NetstringDecoder::new();
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), chunk[2..].as_ptr());
        assert_eq!(decoder.decode(&mut input), Ok(Some(&b""[..])));
        assert_eq!(decoder.decode(&mut input), Ok(None));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        assert_eq!(fails(b"01:a,"), NetstringParseError::LeadingZero);
        assert_eq!(fails(b"00:,"), NetstringParseError::LeadingZero);
        assert_eq!(fails(b":,"), NetstringParseError::Length { found: b':' });
        assert_eq!(fails(b"-1:,"), NetstringParseError::Length { found: b'-' });
        assert_eq!(fails(b"1 :a,"), NetstringParseError::Length { found: b' ' });
        assert_eq!(fails(b"1:ab"), NetstringParseError::Comma { found: b'b' });
        assert_eq!(fails(b"51:"), NetstringParseError::TooLong { max_length: 50 });
    }

    #[test]
    fn too_many_digits_are_rejected_before_the_colon() {
        assert_eq!(fails(b"51"), NetstringParseError::TooLong { max_length: 50 });
        assert_eq!(fails(&[b'9'; 100]), NetstringParseError::TooLong { max_length: 50 });
        let mut decoder = NetstringDecoder::with(usize::MAX);
        assert!(decoder.decode(&mut &[b'9'; 30][..]).is_err());
        let longest = format!("{}:", usize::MAX - 1);
        assert_eq!(NetstringDecoder::with(usize::MAX).decode(&mut longest.as_bytes()), Ok(None));
    }

    #[test]
    fn a_long_length_allocates_nothing() {
        let mut decoder = NetstringDecoder::new();
        assert_eq!(decoder.decode(&mut &b"99999:abc"[..]), Ok(None));
        assert_eq!(decoder.buffered(), 3);
    }

    #[test]
    fn an_error_names_the_unexpected_byte() {
        assert_eq!(fails(b"1\n").to_string(), r"unexpected '\n' in the length of a netstring: expected a digit");
        assert_eq!(fails(b"1:ab").to_string(), "unexpected 'b' at the end of a netstring: expected ','");
        assert_eq!(fails(b"99").to_string(), "netstring longer than 50 bytes");
    }

    #[test]
    fn a_header_holds_any_length() {
        assert_eq!(NetstringHeader::new(0).as_ref(), b"0:");
        assert_eq!(NetstringHeader::new(99_999).as_ref(), b"99999:");
        assert_eq!(NetstringHeader::new(usize::MAX).as_ref(), format!("{}:", usize::MAX).as_bytes());
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_strings(
            stream in prop_oneof![
                vec(any::<u8>(), 0..40),
                "([0-9]{0,2}:?[a-c,]{0,12}){0,6}".prop_map(String::into_bytes),
            ],
            lengths in vec(1..8usize, 1..8),
        ) {
            let split = decode_in_chunks(&mut NetstringDecoder::with(20), &stream, &lengths, true);
            prop_assert_eq!(split, decode_in_chunks(&mut NetstringDecoder::with(20), &stream, &[], true));
        }

        #[test]
        fn encoded_strings_are_decoded_to_themselves(
            strings in vec(vec(any::<u8>(), 0..120), 0..8),
            lengths in vec(1..100usize, 1..8),
        ) {
            let mut stream = Vec::new();
            for string in &strings {
                encode_netstring(string, &mut stream);
            }
            let found = decode_in_chunks(&mut NetstringDecoder::new(), &stream, &lengths, true);
            prop_assert_eq!(found, strings.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }
}
