//! Clients that send without a pause.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

const CONNECTIONS: usize = 8;
const CHUNK_BYTES: usize = 64 * 1024;

/// Starts the clients. They stop when the server closes their connections.
pub(crate) fn start(address: SocketAddr) {
    for _ in 0..CONNECTIONS {
        thread::spawn(move || send(address));
    }
}

fn send(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        stream.write_all(&chunk)?;
        stream.read_exact(&mut chunk)?;
    }
}
