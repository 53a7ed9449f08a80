//! mio without a framework: edge-triggered, so a receive that filled the buffer is repeated. All connections share a
//! buffer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

const ACCEPTING: Token = Token(usize::MAX);

struct Connection {
    socket: TcpStream,
    token: Token,
    /// Bytes that the kernel did not take. While there are any, nothing more is received.
    unsent: Vec<u8>,
}

struct Server {
    poll: Poll,
    listener: mio::net::TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
}

pub(super) fn serve(listener: TcpListener, buffer_bytes: usize) -> io::Result<()> {
    let poll = Poll::new()?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    poll.registry().register(&mut listener, ACCEPTING, Interest::READABLE)?;
    let buffer = vec![0; buffer_bytes].into();
    let mut server = Server { poll, listener, connections: Vec::new(), free: Vec::new(), buffer };
    let mut events = Events::with_capacity(super::EVENTS);
    loop {
        match server.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == ACCEPTING { server.accept() } else { server.serve(event) }
        }
    }
}

impl Server {
    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let place = self.free.pop().unwrap_or(self.connections.len());
            let _ = socket.set_nodelay(true);
            if self.poll.registry().register(&mut socket, Token(place), Interest::READABLE).is_err() {
                self.free.push(place);
                continue;
            }
            if place >= self.connections.len() {
                self.connections.resize_with(place + 1, || None);
            }
            self.connections[place] = Some(Connection { socket, token: Token(place), unsent: Vec::new() });
        }
    }

    fn serve(&mut self, event: &Event) {
        let token = event.token();
        let Some(connection) = &mut self.connections[token.0] else { return };
        if connection.advance(self.poll.registry(), &mut self.buffer, event.is_read_closed()).is_err() {
            self.connections[token.0] = None;
            self.free.push(token.0);
        }
    }
}

impl Connection {
    /// Sends and receives until either would block. An error means that the connection has ended, for whatever reason.
    fn advance(&mut self, registry: &Registry, buffer: &mut [u8], closed: bool) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = until_blocked(self.socket.write(&self.unsent))?.unwrap_or(0);
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(());
            }
            registry.reregister(&mut self.socket, self.token, Interest::READABLE)?;
        }
        while let Some(received) = until_blocked(self.socket.read(buffer))? {
            if received == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let sent = until_blocked(self.socket.write(&buffer[..received]))?.unwrap_or(0);
            if sent < received {
                self.unsent.extend_from_slice(&buffer[sent..received]);
                return registry.reregister(&mut self.socket, self.token, Interest::WRITABLE);
            }
            // A short count means that the socket is drained, epoll(7) question 9. But the end of the stream may come
            // next, and its edge was reported already.
            if received < buffer.len() && !closed {
                break;
            }
        }
        Ok(())
    }
}

fn until_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
