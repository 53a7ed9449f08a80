//! ropewalk on one of its event providers: the echo server of the book's page about UDP.

use std::io;
use std::net::UdpSocket;

use ropewalk::prelude::*;
use ropewalk::{Datagram, DatagramOptions, DatagramPort, DatagramProtocol};

struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let _ = port.write_to(datagram.data, datagram.from);
    }
}

pub(super) fn serve(provider: &str, socket: UdpSocket) -> io::Result<()> {
    let reactor = Reactor::with(provider).map_err(io::Error::other)?;
    reactor.adopt_datagram_port(socket, DatagramOptions::default(), Echo).map_err(io::Error::other)?;
    reactor.run().map_err(io::Error::other)
}
