//! A small HTTP/2 client that exposes each frame: RFC 9113. openssl speaks TLS for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::wire::read_exactly;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Error codes: section 7.
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The first byte of the fields of a response with status 200: RFC 7541, appendix A.
pub(crate) const STATUS_200: u8 = 0x88;
pub(crate) const STATUS_400: u8 = 0x8c;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Returns the error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }
}

/// A connection to a server, after both sides have sent their settings.
pub(crate) struct Frames {
    openssl: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The settings of the server, as pairs of number and value.
    pub(crate) settings: Vec<(u16, u32)>,
}

impl Frames {
    /// Connects to a port of this machine, with these settings.
    pub(crate) fn connect(port: u16, settings: &[(u16, u32)]) -> Frames {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-4", "-quiet", "-alpn", "h2", "-connect", &format!("localhost:{port}")]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut openssl = child.expect("openssl is installed");
        let (input, output) = (openssl.stdin.take().unwrap(), BufReader::new(openssl.stdout.take().unwrap()));
        let mut frames = Frames { openssl, input, output, settings: Vec::new() };
        frames.input.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let pairs = settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
        frames.send(SETTINGS, 0, 0, &pairs.collect::<Vec<_>>());
        let own = frames.next_of(SETTINGS);
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let pair = |pair: &[u8]| (u16::from_be_bytes([pair[0], pair[1]]), number(&pair[2..]));
        frames.settings = own.payload.chunks(6).map(pair).collect();
        frames.send(SETTINGS, ACK, 0, &[]);
        frames
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.try_send(kind, flags, stream, payload).expect("the server reads");
    }

    /// Sends a frame, unless the server has closed the connection.
    pub(crate) fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.input.write_all(&encoded(kind, flags, stream, payload))?;
        self.input.flush()
    }

    /// Sends a request for `path`.
    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path, &[]));
    }

    /// Sends bytes, unless the server has closed the connection.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes)
    }

    pub(crate) fn widen(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// Returns the next frame, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if self.output.fill_buf().is_ok_and(<[u8]>::is_empty) {
            return None;
        }
        let head = read_exactly(&mut self.output, 9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let payload = read_exactly(&mut self.output, length as usize);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Skips to the next frame of this kind.
    #[track_caller]
    pub(crate) fn next_of(&mut self, kind: u8) -> Frame {
        self.find_of(kind).expect("a frame of this kind")
    }

    /// Skips to the next frame of this kind. Returns `None` if the stream ends before.
    pub(crate) fn find_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match self.next()? {
                frame if frame.kind == kind => return Some(frame),
                _ => {}
            }
        }
    }

    /// Returns the bytes of a stream's body.
    pub(crate) fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.next_of(DATA);
            if frame.stream == stream {
                body.extend_from_slice(&frame.payload);
                if frame.ends_stream() {
                    return body;
                }
            }
        }
    }

    /// Reads up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Reads whatever comes up to the end, even if a frame is cut.
    pub(crate) fn drain(&mut self) {
        let _ = self.output.read_to_end(&mut Vec::new());
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}

/// Returns the bytes of a frame.
pub(crate) fn encoded(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the compressed fields of a GET request: RFC 7541. No string is compressed, and none enters the table.
pub(crate) fn fields(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| [length(text.len()), text.as_bytes().to_vec()].concat();
    let mut block = vec![0x82, 0x87, 0x04];
    block.extend(string(path));
    block.push(0x01);
    block.extend(string("localhost"));
    for (name, value) in more {
        block.push(0x00);
        block.extend(string(name));
        block.extend(string(value));
    }
    block
}

/// Encodes an integer with a prefix of 7 bits: RFC 7541, section 5.1.
fn length(mut number: usize) -> Vec<u8> {
    if number < 127 {
        return vec![number as u8];
    }
    number -= 127;
    let mut bytes = vec![127];
    while number >= 128 {
        bytes.push((number % 128) as u8 | 0x80);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

/// The flags of a request without a body.
pub(crate) const WHOLE_REQUEST: u8 = END_STREAM | END_HEADERS;
