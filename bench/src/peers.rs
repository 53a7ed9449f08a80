//! The peers of a datagram server, in one thread and in lock-step: all send, then all receive, then again.
//!
//! As with the connections of the client, the server finds all datagrams of a round waiting. A peer sends all of its
//! datagrams in a row.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::servers::datagrams::RECEIVE_BUFFER;

/// The time for which a peer waits for an echo. A lost datagram is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// The datagrams of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volley {
    /// The length of a datagram.
    pub(crate) bytes: usize,
    pub(crate) peers: usize,
    /// The number of datagrams that each peer sends before it waits for the first echo.
    pub(crate) each: usize,
}

/// The peers and their datagrams.
pub(crate) struct Peers {
    volley: Volley,
    sockets: Vec<UdpSocket>,
    datagram: Vec<u8>,
    echo: Vec<u8>,
}

impl Peers {
    /// Opens the peers' sockets.
    ///
    /// # Errors
    /// If a socket cannot be opened.
    pub(crate) fn new(server: u16, volley: Volley) -> io::Result<Peers> {
        let sockets = (0..volley.peers).map(|_| open(server)).collect::<io::Result<_>>()?;
        let datagram: Vec<u8> = (0..volley.bytes).map(|index| (index * 31) as u8).collect();
        // The byte more shows that an echo is longer.
        let echo = vec![0; volley.bytes + 1];
        Ok(Peers { volley, sockets, datagram, echo })
    }

    /// Sends and receives one round of datagrams. Returns their number.
    ///
    /// # Errors
    /// If a datagram was lost, or an echo differs from its datagram.
    pub(crate) fn round(&mut self) -> io::Result<u64> {
        for socket in &self.sockets {
            for _ in 0..self.volley.each {
                socket.send(&self.datagram)?;
            }
        }
        for socket in &self.sockets {
            for _ in 0..self.volley.each {
                let length = socket.recv(&mut self.echo)?;
                if self.echo[..length] != self.datagram {
                    return Err(io::Error::other("the echo is not what was sent"));
                }
            }
        }
        Ok((self.sockets.len() * self.volley.each) as u64)
    }
}

fn open(server: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, server)).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::servers::datagrams;

    #[test]
    fn a_round_counts_the_datagrams_of_all_peers() {
        let socket = datagrams::bind(0).unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || datagrams::serve(Candidate::RawEpoll, socket, 64 * 1024).unwrap());
        let mut peers = Peers::new(port, Volley { bytes: 100, peers: 7, each: 3 }).unwrap();
        assert_eq!(peers.round().unwrap(), 21);
        assert_eq!(peers.round().unwrap(), 21);
    }
}
