//! Echo servers: one file for each candidate, with the same functions.
//!
//! All set TCP_NODELAY, serve the same listening socket, and close when the peer has closed and everything is echoed.
//! The raw loop on epoll, mio and ropewalk receive into one shared buffer; tokio's idiom is a buffer for each task. All
//! stop receiving while a peer is too slow for its echo. ropewalk queues up to its high-water mark before that.

pub(crate) mod datagrams;
mod mio;
mod raw_epoll;
mod raw_uring;
mod ropewalk;
pub(crate) mod tls;
mod tokio;

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::candidate::Candidate;

/// The default size of a receive buffer.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// The length of the accept queue. The client never leaves that many connections waiting.
const BACKLOG: i32 = 128;

/// The number of events that one wait reports.
const EVENTS: usize = 1024;

/// Serves until the process exits.
///
/// # Errors
/// If listening or waiting fails.
pub(crate) fn serve(candidate: Candidate, listener: TcpListener, buffer_bytes: usize) -> io::Result<()> {
    match candidate {
        Candidate::RawEpoll => raw_epoll::serve(listener, buffer_bytes),
        Candidate::RawUring => raw_uring::serve(listener),
        Candidate::Mio => mio::serve(listener, buffer_bytes),
        Candidate::Tokio => tokio::serve(listener, buffer_bytes),
        Candidate::Ropewalk(provider) => ropewalk::serve(provider, listener),
    }
}

/// Returns a non-blocking listening socket on the loopback. Port 0 lets the system choose.
///
/// # Errors
/// If the port is in use.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Answers the parent on standard input and output, in a thread of its own that sleeps during measurements.
///
/// The answer to `memory` is the allocator's live bytes, or `-` if the program does not count them. The
/// process exits at the end of the input: no server outlives its parent.
pub(crate) fn obey_parent(live_bytes: Option<fn() -> usize>) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == "memory" {
                say(&live_bytes.map_or_else(|| "-".to_owned(), |live| live().to_string()));
            }
        }
        std::process::exit(0);
    });
}

/// Prints one line for the parent. The death of the parent is noticed on standard input.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    use super::*;

    fn start(candidate: Candidate, buffer_bytes: usize) -> SocketAddr {
        let listener = listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve(candidate, listener, buffer_bytes).unwrap());
        address
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index * 31 + index / 251) as u8).collect()
    }

    #[test]
    fn each_connection_gets_its_own_bytes_back() {
        for candidate in Candidate::ALL {
            let address = start(candidate, BUFFER_BYTES);
            let mut peers: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            for round in 0..3u8 {
                for (index, peer) in peers.iter_mut().enumerate() {
                    peer.write_all(&[round, index as u8]).unwrap();
                }
                for (index, peer) in peers.iter_mut().enumerate() {
                    let mut reply = [0; 2];
                    peer.read_exact(&mut reply).unwrap();
                    assert_eq!(reply, [round, index as u8], "{candidate}");
                }
            }
        }
    }

    #[test]
    fn a_peer_that_reads_late_gets_everything_in_order() {
        for candidate in Candidate::ALL {
            let address = start(candidate, BUFFER_BYTES);
            let mut peer = TcpStream::connect(address).unwrap();
            let mut writer = peer.try_clone().unwrap();
            let sent = pattern(24 << 20);
            let expected = sent.clone();
            // Far more than the socket buffers hold, so the server meets a full socket. The writer blocks meanwhile.
            let writing = thread::spawn(move || {
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            writing.join().unwrap();
            assert!(received == expected, "{candidate}: {} bytes", received.len());
        }
    }

    #[test]
    fn messages_larger_than_the_buffer_are_echoed_whole() {
        for candidate in Candidate::ALL {
            let mut peer = TcpStream::connect(start(candidate, 1000)).unwrap();
            let sent = pattern(4321);
            peer.write_all(&sent).unwrap();
            let mut received = vec![0; sent.len()];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(received, sent, "{candidate}");
        }
    }

    #[test]
    fn a_connection_that_the_peer_closes_is_closed() {
        for candidate in Candidate::ALL {
            let address = start(candidate, BUFFER_BYTES);
            for _ in 0..200 {
                let mut peer = TcpStream::connect(address).unwrap();
                peer.write_all(b"last words").unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                assert_eq!(received, b"last words", "{candidate}");
            }
        }
    }
}
