//! The PROXY protocol: a header in which a load balancer names the addresses of the connection that it forwards.
//!
//! ```text
//!   version 1   PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n      at most 107 bytes
//!   version 2   \r\n\r\n\0\r\nQUIT\n | 0x21 | 0x11 | length | addresses | extensions, skipped
//!                     signature       command family  16 bit   12, 36, 216   up to 65535 in all
//! ```
//!
//! The header is trusted. So expect one only if no peer but the load balancer can connect. Bytes that break the format
//! are rejected as soon as they arrive.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> and `twisted.protocols.haproxy`.

mod binary;
mod error;
mod extensions;
#[cfg(test)]
mod tests;
mod text;

use crate::Address;

pub use error::ProxyHeaderError;

use binary::Preamble;
use extensions::Extensions;

/// The maximum size of the buffered part of a header: a preamble of 16 bytes and the addresses of two UNIX sockets.
const KEPT_MAX: usize = binary::PREAMBLE + 216;

/// The content of a header.
///
/// ```
/// use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderParser};
///
/// let header = ProxyHeaderParser::new().parse(&mut &b"PROXY UNKNOWN\r\n"[..])?;
/// assert_eq!(header, Some(ProxyHeader::Own)); // the connection's own addresses
/// # Ok::<(), ropewalk_proto::proxy_header::ProxyHeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// No addresses: use those of the connection itself. Sent for a health check or for an unknown protocol.
    Own,
    /// The addresses of the forwarded connection.
    Proxied {
        /// The address of the client that connected to the load balancer.
        source: Address,
        /// The address that the client connected to.
        destination: Address,
    },
}

/// Parses a header of version 1 or 2 at the front of a stream that arrives in chunks.
///
/// The parser buffers at most 232 bytes inside itself, and allocates nothing before the header is complete.
///
/// Calls no callbacks, and may be sent to another thread.
///
/// ```
/// use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderParser};
///
/// let mut parser = ProxyHeaderParser::new();
/// let mut input = &b"PROXY TCP4 192.0.2.1 198.51.100.7 543"[..];
/// assert_eq!(parser.parse(&mut input)?, None);
/// let mut input = &b"21 443\r\nGET /"[..];
/// let Some(ProxyHeader::Proxied { source, .. }) = parser.parse(&mut input)? else { panic!("expected addresses") };
/// assert_eq!(source.to_string(), "192.0.2.1:54321");
/// assert_eq!(input, b"GET /");
/// # Ok::<(), ropewalk_proto::proxy_header::ProxyHeaderError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProxyHeaderParser {
    state: State,
    kept: [u8; KEPT_MAX],
    length: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// The first byte, which shows the version, has not arrived.
    Undecided,
    Text,
    Preamble,
    /// The addresses after a valid preamble.
    Addresses(Preamble),
    /// The header is known, and the rest of its extensions follows.
    Skipping(Extensions, ProxyHeader),
    Complete(ProxyHeader),
    Broken(ProxyHeaderError),
}

impl Default for ProxyHeaderParser {
    fn default() -> Self {
        ProxyHeaderParser::new()
    }
}

impl ProxyHeaderParser {
    /// Creates a parser for the beginning of a stream.
    pub fn new() -> ProxyHeaderParser {
        ProxyHeaderParser { state: State::Undecided, kept: [0; KEPT_MAX], length: 0 }
    }

    /// Removes the header from the front of `input`, which must continue the input of the previous call.
    ///
    /// If this returns `None`, all of `input` was taken. If this returns the header, `input` is the rest. Further calls
    /// take nothing and return the same header.
    ///
    /// # Errors
    /// If the stream does not begin with a valid header. Each further call returns the same error.
    pub fn parse(&mut self, input: &mut &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        loop {
            let next = match &mut self.state {
                State::Broken(error) => return Err(*error),
                State::Complete(header) => return Ok(Some(header.clone())),
                State::Skipping(extensions, header) => match extensions.skip(input) {
                    Ok(is_complete) => Ok(is_complete.then(|| State::Complete(header.clone()))),
                    Err(error) => Err(error),
                },
                State::Undecided => match input.first() {
                    None => return Ok(None),
                    Some(b'P') => Ok(Some(State::Text)),
                    Some(b'\r') => Ok(Some(State::Preamble)),
                    Some(_) => Err(ProxyHeaderError::NoHeader),
                },
                State::Text => self.take_text(input),
                State::Preamble => self.take_preamble(input),
                State::Addresses(preamble) => {
                    let preamble = *preamble;
                    Ok(self.take_addresses(preamble, input))
                }
            };
            self.state = match next {
                Ok(Some(state)) => state,
                Ok(None) => return Ok(None),
                Err(error) => State::Broken(error),
            };
        }
    }

    fn take_text(&mut self, input: &mut &[u8]) -> Result<Option<State>, ProxyHeaderError> {
        let room = &input[..input.len().min(text::LENGTH_MAX - self.length)];
        let end = room.iter().position(|&byte| byte == b'\n');
        let whole = self.keep(input, end.map_or(room.len(), |end| end + 1));
        if !whole.starts_with(&text::PREFIX[..whole.len().min(text::PREFIX.len())]) {
            return Err(ProxyHeaderError::NoHeader);
        }
        match end {
            Some(_) => text::parse(whole).map(|header| Some(State::Complete(header))),
            None if whole.len() == text::LENGTH_MAX => Err(ProxyHeaderError::TooLong),
            None => Ok(None),
        }
    }

    fn take_preamble(&mut self, input: &mut &[u8]) -> Result<Option<State>, ProxyHeaderError> {
        let kept = self.keep(input, binary::PREAMBLE - self.length);
        let preamble = binary::check(kept)?;
        Ok(preamble.map(State::Addresses))
    }

    fn take_addresses(&mut self, preamble: Preamble, input: &mut &[u8]) -> Option<State> {
        let wanted = binary::PREAMBLE + preamble.addresses_length();
        let kept = self.keep(input, wanted - self.length);
        let whole = kept.len() == wanted;
        whole.then(|| State::Skipping(preamble.extensions(), preamble.header(&kept[binary::PREAMBLE..])))
    }

    /// Moves up to `count` bytes from `input` to the buffer, and returns the whole buffer.
    fn keep(&mut self, input: &mut &[u8], count: usize) -> &[u8] {
        let (taken, rest) = input.split_at(count.min(input.len()));
        self.kept[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
        *input = rest;
        &self.kept[..self.length]
    }
}
