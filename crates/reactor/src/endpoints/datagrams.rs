//! The endpoints of datagram ports, which Twisted does not have.

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::DescriptionError;

use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::DatagramPort;

/// A place to receive datagrams at, or to send datagrams to.
///
/// A datagram port of a server and one of a client differ only in their addresses. So both kinds of endpoints implement
/// this trait: a server endpoint opens a port at its address, and a client endpoint one that is connected to its peer.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{DatagramEndpoint, datagram_server_from_string};
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Deferred, Reactor};
///
/// /// Prints its address when it is open.
/// struct Announced(Rc<dyn DatagramEndpoint>);
///
/// impl DatagramEndpoint for Announced {
///     fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
///         self.0.open(reactor, protocol).add_callback(|port| {
///             println!("receiving at {}", port.host());
///             port
///         })
///     }
/// }
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
///         let _ = port.write_to(datagram.data, datagram.from);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let endpoint = Announced(datagram_server_from_string(&net, "udp:7:interface=10.0.0.1")?);
/// let port = endpoint.open(&net, Box::new(Echo)).try_result().unwrap().unwrap();
/// assert!(port.is_listening());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait DatagramEndpoint {
    /// Opens a datagram port. `protocol` gets the datagrams that arrive.
    ///
    /// The Deferred fires with the port, or fails with an [`Error`](crate::Error). The Deferred of a built-in type fires
    /// before this method returns, unless a host name has to be resolved. Cancelling the Deferred stops the resolution.
    /// May be called from any callback, on the reactor's thread. Each call opens another port. Never panics.
    #[must_use = "opening may fail: handle the failure"]
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort>;
}

impl<E: DatagramEndpoint + ?Sized> DatagramEndpoint for Rc<E> {
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
        (**self).open(reactor, protocol)
    }
}

/// Parses `description` into the endpoint of a datagram server, of a type registered with `reactor`.
///
/// May be called from any callback.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::endpoints::datagram_server_from_string;
/// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Reactor};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
///         let _ = port.write_from(datagram.data, datagram.from, datagram.local);
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let endpoint = datagram_server_from_string(&reactor, "udp:0:interface=127.0.0.1")?;
/// let port = endpoint.open(&reactor, Box::new(Echo)).try_result().expect("a port opens at once")?;
/// println!("echoing at {}", port.host());
/// # }
/// # Ok::<(), ropewalk::Failure>(())
/// ```
///
/// # Errors
/// If the grammar, the name or an argument is wrong. The message names the fault and what was expected. The port is not
/// open yet, so an address in use is an error of [`open`](DatagramEndpoint::open).
pub fn datagram_server_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> {
    reactor.endpoints().datagram_server(description)
}

/// Parses `description` into the endpoint of a datagram client, of a type registered with `reactor`.
///
/// May be called from any callback.
///
/// ```
/// use ropewalk::DatagramProtocol;
/// use ropewalk::endpoints::datagram_client_from_string;
/// use ropewalk::testing::MemoryReactor;
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let net = MemoryReactor::new();
/// net.add_host("log.example.org", &["10.0.0.1"]);
/// let log = net.open_datagrams("10.0.0.1:514").unwrap();
/// let endpoint = datagram_client_from_string(&net, "udp:log.example.org:514")?;
/// endpoint.open(&net, Box::new(Silent)).add_callbacks(
///     |port| port.write(b"<13>it works").unwrap(),
///     |failure| eprintln!("{failure}"),
/// );
/// net.settle();
/// assert_eq!(log.receive().unwrap().0, b"<13>it works");
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// # Errors
/// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
pub fn datagram_client_from_string(
    reactor: &Reactor,
    description: &str,
) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> {
    reactor.endpoints().datagram_client(description)
}
