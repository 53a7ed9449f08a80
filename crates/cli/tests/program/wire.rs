//! What tests do with connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Everything up to the end of the stream.
pub(crate) fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("it ends in order");
    all
}

/// Exactly so many bytes.
pub(crate) fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

/// Sends everything, then the end of the stream, and returns what comes back.
pub(crate) fn converse(mut stream: TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("it is connected");
    read_all(&mut stream)
}

/// Writes until nothing more is taken for a while, and returns how much was.
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
