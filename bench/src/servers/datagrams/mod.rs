//! Echo servers for datagrams: one file for each candidate, with the same function.
//!
//! All serve the same UDP socket, so all have its receive buffer. The raw loop, mio and tokio receive and send one
//! datagram with each call, as their own examples do.

mod mio;
mod raw_epoll;
mod ropewalk;
mod tokio;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::candidate::Candidate;

/// The receive buffer of a server and of each of its peers. It holds all datagrams of a round, so that none is lost.
pub(crate) const RECEIVE_BUFFER: usize = 4 << 20;

/// Serves until the process exits.
///
/// # Errors
/// If waiting or an echo fails, or the candidate has no datagrams.
pub(crate) fn serve(candidate: Candidate, socket: UdpSocket, buffer_bytes: usize) -> io::Result<()> {
    match candidate {
        Candidate::RawEpoll => raw_epoll::serve(&socket, buffer_bytes),
        Candidate::Mio => mio::serve(socket, buffer_bytes),
        Candidate::Tokio => tokio::serve(socket, buffer_bytes),
        Candidate::Ropewalk(provider) => ropewalk::serve(provider, socket),
        Candidate::RawUring => Err(io::Error::other(format!("{candidate} has no datagrams"))),
    }
}

/// Returns a non-blocking socket on the loopback. Port 0 lets the system choose.
///
/// # Errors
/// If the port is in use.
pub(crate) fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_peer_gets_its_own_datagrams_back() {
        let all = Candidate::ALL.into_iter().filter(|candidate| *candidate != Candidate::RawUring);
        for candidate in all {
            let socket = bind(0).unwrap();
            let address = socket.local_addr().unwrap();
            thread::spawn(move || serve(candidate, socket, 64 * 1024).unwrap());
            let peers: Vec<UdpSocket> = (0..5).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            for (index, peer) in peers.iter().enumerate() {
                peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                for number in 0..20 {
                    peer.send_to(&[index as u8, number], address).unwrap();
                }
            }
            for (index, peer) in peers.iter().enumerate() {
                for number in 0..20 {
                    let mut echo = [0; 3];
                    assert_eq!(peer.recv_from(&mut echo).unwrap(), (2, address), "{candidate}");
                    assert_eq!(echo[..2], [index as u8, number], "{candidate}");
                }
            }
        }
    }
}
