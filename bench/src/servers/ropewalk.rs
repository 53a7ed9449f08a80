//! ropewalk on one of its event providers: the echo server of the README, with TCP_NODELAY as every candidate here.

use std::io;
use std::net::TcpListener;

use ropewalk::prelude::*;

pub(super) struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.set_tcp_no_delay(true);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

pub(super) fn serve(provider: &str, listener: TcpListener) -> io::Result<()> {
    let reactor = Reactor::with(provider).map_err(io::Error::other)?;
    reactor.adopt_stream_port(listener, paced(|| Echo)).map_err(io::Error::other)?;
    reactor.run().map_err(io::Error::other)
}
