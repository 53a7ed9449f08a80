//! Connections over TCP in the reactor itself.

use std::rc::Rc;

use ropewalk::prelude::*;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Listens, and echoes what is received. Returns the address.
pub(crate) fn listen(reactor: &Reactor) -> String {
    let port = reactor.listen_tcp("127.0.0.1:0", || Echo).unwrap();
    port.host().unwrap().to_string()
}

type Received = Rc<dyn Fn(&Transport, &[u8])>;

struct Client {
    greeting: &'static [u8],
    received: Received,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.greeting);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        (self.received)(transport, data);
    }
}

/// Connects a client that writes `greeting`, and calls `received` for each echo.
pub(crate) fn connect(
    reactor: &Reactor,
    address: &str,
    greeting: &'static [u8],
    received: impl Fn(&Transport, &[u8]) + 'static,
) {
    let received: Received = Rc::new(received);
    let client = move || Client { greeting, received: received.clone() };
    reactor.connect_tcp(address, client).unwrap();
}
