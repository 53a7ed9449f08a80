//! The client: one thread, in lock-step. All connections send, then all receive, then again.
//!
//! The client shares the server's core, and both run under SCHED_BATCH, so each runs only while the other sleeps. The
//! server always finds all requests of a round waiting, so all candidates have the same load.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Socket, Type};

/// The number of connections that are opened before the client waits until the server has accepted them. It is less
/// than any backlog.
pub(crate) const CONNECTING: usize = 64;

/// The time for which a connection waits for progress. A server that has stalled is an error.
const PATIENCE: Duration = Duration::from_secs(20);

/// The requests of a connection in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The size of a message.
    pub message_bytes: usize,
    /// The number of connections.
    pub connections: usize,
    /// Messages that are sent before the first answer is awaited.
    pub depth: usize,
}

/// The connections and their requests.
pub struct Client {
    load: Load,
    port: u16,
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// The number of source addresses in use.
    sources: u32,
}

impl Client {
    /// Creates a client without connections.
    pub fn new(port: u16, load: Load) -> Client {
        let request = (0..load.message_bytes).map(|index| (index * 31 + index / 251) as u8).collect();
        let reply = vec![0; (load.message_bytes * load.depth).min(256 * 1024)];
        Client { load, port, connections: Vec::new(), request, reply, sources: 0 }
    }

    /// Opens the connections, and checks that each gets its request echoed.
    ///
    /// # Errors
    /// If a connection fails, or an answer differs from its request.
    pub fn connect(&mut self) -> io::Result<()> {
        while self.connections.len() < self.load.connections {
            let more = CONNECTING.min(self.load.connections - self.connections.len());
            let known = self.connections.len();
            self.connect_from_another_address(more)?;
            exchange_checked(&self.connections[known..], &self.request)?;
        }
        Ok(())
    }

    /// Sends and receives one round of messages on each connection. Returns the number of messages.
    ///
    /// # Errors
    /// If a connection breaks.
    pub fn round(&mut self) -> io::Result<u64> {
        let bytes = self.load.message_bytes * self.load.depth;
        let mut sent = vec![0; self.connections.len()];
        for (connection, sent) in self.connections.iter().zip(&mut sent) {
            send_some(connection, &self.request, sent, bytes)?;
        }
        for (connection, sent) in self.connections.iter().zip(&mut sent) {
            finish_round(connection, &self.request, &mut self.reply, sent, bytes)?;
        }
        Ok((self.connections.len() * self.load.depth) as u64)
    }

    /// Runs one round of one message on each connection, and compares each answer with its request.
    ///
    /// # Errors
    /// If a connection breaks, or an answer differs from its request.
    pub fn checked_round(&self) -> io::Result<()> {
        exchange_checked(&self.connections, &self.request)
    }

    /// Runs one round, and returns each connection's time from its request to the end of its answer.
    ///
    /// # Errors
    /// If a connection breaks.
    pub fn timed_round(&mut self, times: &mut Vec<Duration>) -> io::Result<()> {
        let bytes = self.load.message_bytes * self.load.depth;
        let mut begun = Vec::with_capacity(self.connections.len());
        for connection in &self.connections {
            let mut sent = 0;
            begun.push((Instant::now(), send_some(connection, &self.request, &mut sent, bytes).map(|()| sent)?));
        }
        for (connection, (begin, mut sent)) in self.connections.iter().zip(begun) {
            finish_round(connection, &self.request, &mut self.reply, &mut sent, bytes)?;
            times.push(begin.elapsed());
        }
        Ok(())
    }

    /// Runs one round of short connections: connect, one message and its answer, close. Returns their number.
    ///
    /// # Errors
    /// If a connection fails.
    pub fn churn(&mut self) -> io::Result<u64> {
        self.connect_from_another_address(self.load.connections)?;
        let lives = self.round()?;
        self.connections.clear();
        Ok(lives)
    }

    /// Opens `more` connections from the next address of the loopback network.
    fn connect_from_another_address(&mut self, more: usize) -> io::Result<()> {
        self.sources += 1;
        for _ in 0..more {
            self.connections.push(connect(self.port, source(self.sources))?);
        }
        Ok(())
    }
}

/// Returns an address of the loopback network for the connections with this number.
///
/// Churn leaves tens of thousands of connections in TIME_WAIT, which would use up the ports of one address. Every
/// connection is bound to such an address: the system never gives an unbound socket a port that is bound at another
/// address.
pub(crate) fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number % 0xffff)
}

/// Connects to the server from the address `source`.
///
/// # Errors
/// If the connection fails.
pub(crate) fn connect(port: u16, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket.into())
}

/// Sends on all connections, then receives on all. So a server whose wait is costly waits once for many connections.
fn exchange_checked(connections: &[TcpStream], request: &[u8]) -> io::Result<()> {
    let mut sent = vec![0; connections.len()];
    for (connection, sent) in connections.iter().zip(&mut sent) {
        send_some(connection, request, sent, request.len())?;
    }
    for (connection, sent) in connections.iter().zip(&mut sent) {
        receive_checked(connection, request, sent)?;
    }
    Ok(())
}

fn receive_checked(connection: &TcpStream, request: &[u8], sent: &mut usize) -> io::Result<()> {
    let mut received = vec![0; request.len()];
    let mut filled = 0;
    while filled < request.len() {
        send_some(connection, request, sent, request.len())?;
        filled += receive(connection, &mut received[filled..], *sent == request.len())?;
    }
    if received == request { Ok(()) } else { Err(io::Error::other("the answer is not what was sent")) }
}

/// Sends messages until `bytes` are sent or the socket is full.
fn send_some(connection: &TcpStream, request: &[u8], sent: &mut usize, bytes: usize) -> io::Result<()> {
    while *sent < bytes {
        match send(connection, &request[*sent % request.len()..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => *sent += count,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Receives all answers while sending the rest, so that neither end waits for the other for ever.
fn finish_round(
    connection: &TcpStream,
    request: &[u8],
    reply: &mut [u8],
    sent: &mut usize,
    bytes: usize,
) -> io::Result<()> {
    let mut missing = bytes;
    while missing > 0 {
        send_some(connection, request, sent, bytes)?;
        let room = missing.min(reply.len());
        missing -= receive(connection, &mut reply[..room], *sent == bytes)?;
    }
    Ok(())
}

/// Receives some bytes. If there is more to send, also returns when receiving would block.
fn receive(connection: &TcpStream, buffer: &mut [u8], all_sent: bool) -> io::Result<usize> {
    let flags = if all_sent { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    match recv(connection, buffer, flags) {
        Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((count, _)) => Ok(count),
        Err(Errno::INTR) => Ok(0),
        Err(Errno::AGAIN) if all_sent => Err(stalled()),
        Err(Errno::AGAIN) => {
            let mut either = [PollFd::new(connection, PollFlags::IN | PollFlags::OUT)];
            match poll(&mut either, Some(&PATIENCE.try_into().map_err(io::Error::other)?)) {
                Ok(0) => Err(stalled()),
                Ok(_) | Err(Errno::INTR) => Ok(0),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the server has stalled: nothing moved for {PATIENCE:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::servers;

    fn serve() -> u16 {
        let listener = servers::listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || servers::serve(Candidate::RawEpoll, listener, servers::BUFFER_BYTES).unwrap());
        port
    }

    #[test]
    fn a_round_counts_the_messages_of_all_connections() {
        let mut client = Client::new(serve(), Load { message_bytes: 100, connections: 70, depth: 3 });
        client.connect().unwrap();
        assert_eq!(client.round().unwrap(), 210);
        assert_eq!(client.round().unwrap(), 210);
        let mut times = Vec::new();
        client.timed_round(&mut times).unwrap();
        assert_eq!(times.len(), 70);
    }

    #[test]
    fn messages_that_fill_every_buffer_do_not_block_the_client() {
        let mut client = Client::new(serve(), Load { message_bytes: 8 << 20, connections: 2, depth: 2 });
        client.connect().unwrap();
        assert_eq!(client.round().unwrap(), 4);
    }

    #[test]
    fn churn_keeps_no_connection() {
        let mut client = Client::new(serve(), Load { message_bytes: 64, connections: 5, depth: 1 });
        assert_eq!(client.churn().unwrap(), 5);
        assert_eq!(client.churn().unwrap(), 5);
        assert!(client.connections.is_empty());
    }
}
