//! A factory that logs the bytes of its connections: TrafficLoggingFactory.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use ropewalk_proto::Address;

use super::begun::on_connection;
use crate::error::Error;
use crate::protocols::forward::{forward_client_factory, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Connector, Observer};

/// An event of a connection, for a [`TrafficLoggingFactory`].
///
/// `Display` shows bytes as an escaped string. A precision limits their number: `{traffic:.100}`.
///
/// ```
/// use ropewalk::protocols::policies::Traffic;
///
/// let traffic = Traffic::Received(b"GET / HTTP/1.1\r\n");
/// assert_eq!(format!("{traffic}"), r#"received "GET / HTTP/1.1\r\n""#);
/// assert_eq!(format!("{traffic:.5}"), r#"received "GET /" and 11 bytes more"#);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Traffic<'a> {
    /// The connection was made with this peer.
    Opened(&'a Address),
    /// These bytes arrived, and are delivered next.
    Received(&'a [u8]),
    /// These bytes were written, and are sent next.
    Written(&'a [u8]),
    /// The connection has ended.
    Ended,
}

impl fmt::Display for Traffic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, bytes) = match self {
            Traffic::Opened(peer) => return write!(f, "opened with {peer}"),
            Traffic::Ended => return f.write_str("ended"),
            Traffic::Received(bytes) => ("received", bytes),
            Traffic::Written(bytes) => ("wrote", bytes),
        };
        let (shown, rest) = bytes.split_at(f.precision().unwrap_or(bytes.len()).min(bytes.len()));
        write!(f, "{what} \"{}\"", shown.escape_ascii())?;
        if rest.is_empty() { Ok(()) } else { write!(f, " and {} bytes more", rest.len()) }
    }
}

type Log = dyn Fn(u64, Traffic<'_>);

/// A factory that logs all bytes that the connections of another factory receive and write.
///
/// With a layer between the connection and its protocol, these are the protocol's bytes. Logging continues when the
/// connection switches to another protocol.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::policies::TrafficLoggingFactory;
/// use ropewalk::testing::MemoryReactor;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let lines = Rc::new(RefCell::new(Vec::new()));
/// let keep = lines.clone();
/// let logged = TrafficLoggingFactory::new(paced(|| Echo), move |number, traffic| {
///     keep.borrow_mut().push(format!("{number}: {traffic:.1000}")); // or an event of `tracing`
/// });
/// net.listen_tcp("10.0.0.1:7", logged)?;
/// let client = net.connect_stream("10.0.0.1:7");
/// client.write(b"hello\n");
/// net.settle();
/// client.close();
/// net.settle();
/// assert_eq!(lines.borrow()[1..], [r#"0: received "hello\n""#, r#"0: wrote "hello\n""#, "0: ended"]);
/// # Ok::<(), Error>(())
/// ```
pub struct TrafficLoggingFactory<F> {
    factory: F,
    log: Rc<Log>,
    next: Cell<u64>,
}

impl<F: Factory> TrafficLoggingFactory<F> {
    /// Wraps `factory`. `log` gets each event, with the number of the connection. The first connection has the number
    /// 0.
    ///
    /// `log` runs in the middle of writes and deliveries. So it must not block and must not write to a connection. A
    /// panic in `log` is logged.
    pub fn new(factory: F, log: impl Fn(u64, Traffic<'_>) + 'static) -> TrafficLoggingFactory<F> {
        TrafficLoggingFactory { factory, log: Rc::new(log), next: Cell::default() }
    }
}

impl<F: Factory> Factory for TrafficLoggingFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = self.factory.build_protocol(peer)?;
        let (log, number) = (self.log.clone(), self.next.replace(self.next.get() + 1));
        Some(on_connection(protocol, move |transport| {
            let tap = Tap { log, number };
            tap.log(Traffic::Opened(transport.peer()));
            transport.observe(Rc::new(tap));
        }))
    }

    forward_factory!();
}

forward_client_factory!(TrafficLoggingFactory);

/// Logs the bytes of one connection, which drops the tap when it ends.
struct Tap {
    log: Rc<Log>,
    number: u64,
}

impl Tap {
    fn log(&self, traffic: Traffic<'_>) {
        (self.log)(self.number, traffic);
    }
}

impl Observer for Tap {
    fn data_received(&self, data: &[u8]) {
        self.log(Traffic::Received(data));
    }

    fn data_written(&self, data: &[u8]) {
        self.log(Traffic::Written(data));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.log(Traffic::Ended);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use bytes::Bytes;

    use super::*;
    use crate::testing::{AccumulatingProtocol, Faults, MemoryReactor};

    #[test]
    fn every_byte_is_logged_in_both_directions() {
        let net = MemoryReactor::seeded(3).with_faults(Faults::none().short_reads().lent_reads());
        let seen: Rc<RefCell<(Vec<u8>, Vec<u8>)>> = Rc::default();
        let keep = seen.clone();
        let server = AccumulatingProtocol::new();
        let factory = TrafficLoggingFactory::new(server.factory(), move |_, traffic| match traffic {
            Traffic::Received(data) => keep.borrow_mut().0.extend_from_slice(data),
            Traffic::Written(data) => keep.borrow_mut().1.extend_from_slice(data),
            _ => {}
        });
        net.listen_tcp("10.0.0.1:80", factory).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[1; 50_000]);
        net.settle();
        let transport = server.transport().unwrap();
        transport.write(b"small, ");
        transport.write(&[b'x'; 10_000]);
        transport.write_bytes(Bytes::from(vec![b'y'; 10_000]));
        transport.write_sequence(["end"]);
        net.settle();
        assert!(seen.borrow().0 == [1; 50_000]);
        assert!(seen.borrow().1 == client.received());
    }

    #[test]
    fn connections_have_numbers() {
        let net = MemoryReactor::new();
        let numbers: Rc<RefCell<Vec<u64>>> = Rc::default();
        let keep = numbers.clone();
        let server = AccumulatingProtocol::new();
        let factory = TrafficLoggingFactory::new(server.factory(), move |number, _| keep.borrow_mut().push(number));
        net.listen_tcp("10.0.0.1:80", factory).unwrap();
        for _ in 0..2 {
            let client = net.connect_stream("10.0.0.1:80");
            net.settle();
            client.abort();
            net.settle();
        }
        assert_eq!(*numbers.borrow(), [0, 0, 1, 1], "each is opened and ends");
    }
}
