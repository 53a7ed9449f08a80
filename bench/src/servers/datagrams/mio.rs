//! mio without a framework: edge-triggered, so it receives until the socket is empty.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use mio::{Events, Interest, Poll, Token};

pub(super) fn serve(socket: UdpSocket, buffer_bytes: usize) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut socket = mio::net::UdpSocket::from_std(socket);
    poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(super::super::EVENTS);
    let mut buffer = vec![0; buffer_bytes];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        if !events.is_empty() {
            echo(&socket, &mut buffer)?;
        }
    }
}

fn echo(socket: &mio::net::UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match socket.recv_from(buffer) {
            Ok((length, peer)) => socket.send_to(&buffer[..length], peer)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
    }
}
