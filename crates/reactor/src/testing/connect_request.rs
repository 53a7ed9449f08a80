//! A program's request to connect, as a test sees it.

use std::time::Duration;

use ropewalk_proto::Address;

use crate::transports::{Connector, WeakConnector};

/// A request to connect on a [`MemoryReactor`](super::MemoryReactor): an element of Twisted's
/// `MemoryReactor.tcpClients`.
///
/// The request is recorded when it is made, with the destination as the program named it. The addresses that were tried
/// are in [`tcp_clients`](super::MemoryReactor::tcp_clients).
///
/// May be read in any callback, on the thread of the reactor.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::Destination;
/// use ropewalk::testing::{AccumulatingProtocol, ConnectRequest, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let destination = Destination::new("example.org", 80).timeout(Duration::from_secs(5));
/// net.connect_tcp(destination, AccumulatingProtocol::new().factory())?;
/// let requests: Vec<ConnectRequest> = net.connect_requests(); // no turn has been made
/// assert_eq!(requests[0].destination, "example.org:80");
/// assert_eq!((requests[0].timeout, &requests[0].bind_address), (Some(Duration::from_secs(5)), &None));
/// let connector = requests[0].connector().expect("the attempt is under way");
/// assert!(connector.factory().build_protocol(&"192.0.2.1:80".parse::<std::net::SocketAddr>().unwrap().into()).is_some());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The destination, such as `example.org:80` or a path.
    pub destination: String,
    /// The time limit of an attempt. `None` sets no limit.
    pub timeout: Option<Duration>,
    /// The local address of the connection, if the program chose one.
    pub bind_address: Option<Address>,
    connector: WeakConnector,
}

impl ConnectRequest {
    pub(super) fn of(connector: &Connector) -> ConnectRequest {
        ConnectRequest {
            destination: connector.destination(),
            timeout: connector.timeout(),
            bind_address: connector.bind_address().cloned(),
            connector: connector.downgrade(),
        }
    }

    /// Returns the connector, which also has the factory. Returns `None` when neither the program nor an attempt holds
    /// it.
    pub fn connector(&self) -> Option<Connector> {
        self.connector.upgrade()
    }
}
