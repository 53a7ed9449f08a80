//! The client for servers that speak TLS. As with the plain client, all connections send, then all receive, then again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ropewalk::tls::rustls::pki_types::ServerName;
use ropewalk::tls::rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::certificate::{Certificate, NAME};
use crate::client::{CONNECTING, Load, connect, source};

/// The connections and their requests.
pub(crate) struct SecureClient {
    load: Load,
    port: u16,
    config: Arc<ClientConfig>,
    connections: Vec<Connection>,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// The number of source addresses in use.
    sources: u32,
}

struct Connection {
    socket: TcpStream,
    tls: ClientConnection,
}

impl SecureClient {
    /// Creates a client without connections, which trusts `certificate`.
    ///
    /// # Errors
    /// If the certificate cannot be trusted.
    pub(crate) fn new(port: u16, load: Load, certificate: &Certificate, resumes: bool) -> io::Result<SecureClient> {
        let config = certificate.trusted(resumes)?;
        let request: Vec<u8> = (0..load.message_bytes).map(|index| (index * 31 + index / 251) as u8).collect();
        let reply = vec![0; load.message_bytes];
        Ok(SecureClient { load, port, config, connections: Vec::new(), request, reply, sources: 0 })
    }

    /// Opens the connections and runs one round of messages on them.
    ///
    /// # Errors
    /// If a handshake fails, or an answer differs from its request.
    pub(crate) fn connect(&mut self) -> io::Result<()> {
        while self.connections.len() < self.load.connections {
            let known = self.connections.len();
            self.open(CONNECTING.min(self.load.connections - known))?;
            self.exchange(known)?;
        }
        Ok(())
    }

    /// Sends and receives one message on each connection. Returns the number of messages.
    ///
    /// # Errors
    /// If a connection breaks, or an answer differs from its request.
    pub(crate) fn round(&mut self) -> io::Result<u64> {
        self.exchange(0)
    }

    /// Runs one round of short connections: handshake, one message and its answer, close. Returns their number.
    ///
    /// # Errors
    /// If a connection fails, or if the handshakes are not of this kind.
    pub(crate) fn churn(&mut self, kind: HandshakeKind) -> io::Result<u64> {
        self.open(self.load.connections)?;
        let lives = self.round()?;
        for Connection { socket, tls } in &mut self.connections {
            if tls.handshake_kind() != Some(kind) {
                return Err(io::Error::other(format!("expected a {kind:?} handshake, got {:?}", tls.handshake_kind())));
            }
            tls.send_close_notify();
            flush(socket, tls)?;
        }
        for connection in &mut self.connections {
            connection.await_close()?;
        }
        self.connections.clear();
        Ok(lives)
    }

    /// Runs short connections until each new one has a session to resume.
    ///
    /// # Errors
    /// If a connection fails.
    pub(crate) fn collect_sessions(&mut self) -> io::Result<()> {
        self.open(self.load.connections)?;
        self.round()?;
        self.connections.clear();
        Ok(())
    }

    fn open(&mut self, more: usize) -> io::Result<()> {
        self.sources += 1;
        let known = self.connections.len();
        for _ in 0..more {
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            let tls = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
            let mut opened = Connection { socket: connect(self.port, source(self.sources))?, tls };
            flush(&mut opened.socket, &mut opened.tls)?;
            self.connections.push(opened);
        }
        for connection in &mut self.connections[known..] {
            while connection.tls.is_handshaking() {
                connection.receive()?;
            }
            flush(&mut connection.socket, &mut connection.tls)?;
        }
        Ok(())
    }

    /// Sends and receives one message on each connection from the one with the index `first` on.
    fn exchange(&mut self, first: usize) -> io::Result<u64> {
        let connections = &mut self.connections[first..];
        for Connection { socket, tls } in &mut *connections {
            tls.writer().write_all(&self.request)?;
            flush(socket, tls)?;
        }
        for connection in &mut *connections {
            connection.read_exact(&mut self.reply)?;
            if self.reply != self.request {
                return Err(io::Error::other("the answer is not what was sent"));
            }
        }
        Ok(connections.len() as u64)
    }
}

impl Connection {
    /// Receives some records.
    fn receive(&mut self) -> io::Result<()> {
        if self.tls.read_tls(&mut self.socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.tls.process_new_packets().map(drop).map_err(io::Error::other)
    }

    fn read_exact(&mut self, reply: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < reply.len() {
            match self.tls.reader().read(&mut reply[filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the server's close_notify and the end of the stream.
    fn await_close(&mut self) -> io::Result<()> {
        while self.tls.read_tls(&mut self.socket)? > 0 {
            self.tls.process_new_packets().map_err(io::Error::other)?;
        }
        match self.tls.reader().read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("more was echoed than was sent")),
            Err(error) => Err(error),
        }
    }
}

fn flush(socket: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::servers::{BUFFER_BYTES, listen, tls};

    const LOAD: Load = Load { message_bytes: 16 * 1024, connections: 70, depth: 1 };

    /// Starts a server in a thread, and returns a client of it.
    fn client(candidate: Candidate, load: Load, resumes: bool) -> SecureClient {
        let certificate = Certificate::create().unwrap();
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = tls::Options::read(certificate.file(), resumes).unwrap();
        std::thread::spawn(move || tls::serve(candidate, listener, &options, BUFFER_BYTES).unwrap());
        SecureClient::new(port, load, &certificate, resumes).unwrap()
    }

    #[test]
    fn each_secured_connection_gets_its_bytes_back() {
        for candidate in tls::CANDIDATES {
            let mut client = client(candidate, LOAD, false);
            client.connect().unwrap();
            assert_eq!(client.round().unwrap(), 70, "{candidate}");
        }
    }

    #[test]
    fn a_server_without_sessions_makes_full_handshakes() {
        for candidate in tls::CANDIDATES {
            let mut client = client(candidate, Load { connections: 3, ..LOAD }, false);
            client.collect_sessions().unwrap();
            assert_eq!(client.churn(HandshakeKind::Full).unwrap(), 3, "{candidate}");
            assert!(client.connections.is_empty());
        }
    }

    #[test]
    fn a_server_with_sessions_resumes_them() {
        for candidate in tls::CANDIDATES {
            let mut client = client(candidate, Load { connections: 8, ..LOAD }, true);
            client.collect_sessions().unwrap();
            for _ in 0..3 {
                assert_eq!(client.churn(HandshakeKind::Resumed).unwrap(), 8, "{candidate}");
            }
        }
    }
}
