//! The PROXY protocol: a header by which a load balancer says whose connection it forwards.
//!
//! ```text
//!   version 1   PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n      at most 107 bytes
//!   version 2   \r\n\r\n\0\r\nQUIT\n | 0x21 | 0x11 | length | addresses | more, which is skipped
//!                     signature       command family  16 bit   12, 36, 216   up to 65535 in all
//! ```
//!
//! A header is trusted by whoever asks for it: it must only be asked for where none but the load balancer can connect.
//! What breaks the format is refused at the first byte that does.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, twisted.protocols.haproxy.

mod binary;
mod error;
#[cfg(test)]
mod tests;
mod text;

use crate::Address;

pub use error::ProxyHeaderError;

use binary::Preamble;

/// The most that is kept of a header: the addresses of two UNIX sockets behind a preamble of 16 bytes.
const KEPT_MAX: usize = binary::PREAMBLE + 216;

/// What a header says.
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
    /// The connection's own addresses are right: a health check of the balancer, or a protocol that it cannot name.
    Own,
    /// The connection was made for another one.
    Proxied {
        /// Who connected to the balancer.
        source: Address,
        /// Where he connected to.
        destination: Address,
    },
}

/// Takes a header of either version off the front of a stream that arrives in chunks.
///
/// It keeps at most 232 bytes, inline, and allocates nothing before a whole header is there.
///
/// ```
/// use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderParser};
///
/// let mut parser = ProxyHeaderParser::new();
/// let mut input = &b"PROXY TCP4 192.0.2.1 198.51.100.7 543"[..];
/// assert_eq!(parser.parse(&mut input)?, None);
/// let mut input = &b"21 443\r\nGET /"[..];
/// let Some(ProxyHeader::Proxied { source, .. }) = parser.parse(&mut input)? else { panic!("it is whole") };
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
    /// Nothing has come that tells the versions apart.
    Undecided,
    Text,
    Preamble,
    /// The addresses, behind a preamble that is right.
    Addresses(Preamble),
    /// So many bytes that mean nothing here, and then this.
    Skipping(usize, ProxyHeader),
    Broken(ProxyHeaderError),
}

impl Default for ProxyHeaderParser {
    fn default() -> Self {
        ProxyHeaderParser::new()
    }
}

impl ProxyHeaderParser {
    /// At the beginning of a stream.
    pub fn new() -> ProxyHeaderParser {
        ProxyHeaderParser { state: State::Undecided, kept: [0; KEPT_MAX], length: 0 }
    }

    /// Takes the header off the front of `input`, which continues where the last one ended. With `None`, all of `input`
    /// was taken; with a header, `input` is what follows, and further calls take nothing and return it again.
    ///
    /// # Errors
    /// When the stream does not begin with a header. That is final: each further call returns it again.
    pub fn parse(&mut self, input: &mut &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        loop {
            let next = match &mut self.state {
                State::Broken(error) => return Err(*error),
                State::Skipping(0, header) => return Ok(Some(header.clone())),
                State::Skipping(left, _) => {
                    let skipped = input.len().min(*left);
                    *input = &input[skipped..];
                    *left -= skipped;
                    if *left > 0 {
                        return Ok(None);
                    }
                    continue;
                }
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
            Some(_) => text::parse(whole).map(|header| Some(State::Skipping(0, header))),
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
        whole.then(|| State::Skipping(preamble.rest_length(), preamble.header(&kept[binary::PREAMBLE..])))
    }

    /// Moves up to `count` bytes from the input to what is kept, and returns all of that.
    fn keep(&mut self, input: &mut &[u8], count: usize) -> &[u8] {
        let (taken, rest) = input.split_at(count.min(input.len()));
        self.kept[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
        *input = rest;
        &self.kept[..self.length]
    }
}
