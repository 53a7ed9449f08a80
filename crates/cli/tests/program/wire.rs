//! Reads and writes on connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Reads up to the end of the stream.
pub(crate) fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the end of the stream");
    all
}

/// Reads exactly `count` bytes.
pub(crate) fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("enough bytes");
    bytes
}

/// Sends `request`, half-closes, and returns the whole answer.
pub(crate) fn converse(mut stream: TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("the request is accepted");
    stream.shutdown(Shutdown::Write).expect("the stream is connected");
    read_all(&mut stream)
}

/// Writes until the peer accepts nothing for a while, or `limit` is reached. Returns the number of bytes accepted.
pub(crate) fn write_until_stuck(stream: &mut TcpStream, limit: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = vec![b'x'; 256 * 1024];
    let mut written = 0;
    while written < limit {
        match stream.write(&piece) {
            Ok(count) => written += count,
            Err(_stuck) => break,
        }
    }
    written
}
