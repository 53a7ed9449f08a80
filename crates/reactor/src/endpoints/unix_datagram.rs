//! Endpoints of UNIX datagrams.

use ropewalk_proto::Deferred;
use ropewalk_proto::description::{UnixDatagramClient, UnixDatagramServer};

use super::DatagramEndpoint;
use super::udp::bytes;
use crate::interfaces::udp::DatagramOptions;
use crate::interfaces::unix_datagram::{UnixDatagramBinding, UnixDatagramDestination};
use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::DatagramPort;

/// An endpoint that receives datagrams at a path: `unix-datagram:`.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::endpoints::{DatagramEndpoint, UnixDatagramServerEndpoint};
/// use ropewalk::{DatagramProtocol, Reactor, UnixDatagramBinding};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let path = std::env::temp_dir().join(format!("endpoint-{}", std::process::id()));
/// let reactor = Reactor::new()?;
/// let endpoint = UnixDatagramServerEndpoint::new(UnixDatagramBinding::new(&path).mode(0o600));
/// let port = endpoint.open(&reactor, Box::new(Silent)).try_result().expect("a port opens at once")?;
/// assert_eq!(port.host().to_string(), path.to_string_lossy());
/// # drop(port.stop_listening());
/// # reactor.iterate(Some(std::time::Duration::ZERO))?;
/// # }
/// # Ok::<(), ropewalk::Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixDatagramServerEndpoint(UnixDatagramBinding);

impl UnixDatagramServerEndpoint {
    /// Creates an endpoint for `binding`, of any type that [`Reactor::listen_unix_datagram`] accepts.
    pub fn new(binding: impl Into<UnixDatagramBinding>) -> UnixDatagramServerEndpoint {
        UnixDatagramServerEndpoint(binding.into())
    }
}

impl From<&UnixDatagramServer> for UnixDatagramServerEndpoint {
    fn from(unix: &UnixDatagramServer) -> UnixDatagramServerEndpoint {
        let options = DatagramOptions::default().max_packet_size(bytes(unix.max_packet_size));
        UnixDatagramServerEndpoint(UnixDatagramBinding::at(unix.address.clone()).mode(unix.mode).options(options))
    }
}

impl DatagramEndpoint for UnixDatagramServerEndpoint {
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
        reactor.listen_unix_datagram(self.0.clone(), protocol).map_err(Into::into).into()
    }
}

/// An endpoint that sends datagrams to a path, and receives only from there: `unix-datagram:`.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::endpoints::{DatagramEndpoint, UnixDatagramClientEndpoint};
/// use ropewalk::{DatagramProtocol, Reactor};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let path = std::env::temp_dir().join(format!("endpoint-log-{}", std::process::id()));
/// let log = std::os::unix::net::UnixDatagram::bind(&path)?;
/// let reactor = Reactor::new()?;
/// let opened = UnixDatagramClientEndpoint::new(&path).open(&reactor, Box::new(Silent));
/// opened.try_result().expect("a port opens at once")?.write(b"it works")?;
/// assert_eq!(log.recv(&mut [0; 100])?, 8);
/// # std::fs::remove_file(path)?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixDatagramClientEndpoint(UnixDatagramDestination);

impl UnixDatagramClientEndpoint {
    /// Creates an endpoint for `destination`, of any type that [`Reactor::connect_unix_datagram`] accepts.
    pub fn new(destination: impl Into<UnixDatagramDestination>) -> UnixDatagramClientEndpoint {
        UnixDatagramClientEndpoint(destination.into())
    }
}

impl From<&UnixDatagramClient> for UnixDatagramClientEndpoint {
    fn from(unix: &UnixDatagramClient) -> UnixDatagramClientEndpoint {
        let options = DatagramOptions::default().max_packet_size(bytes(unix.max_packet_size));
        let destination = UnixDatagramDestination::at(unix.address.clone()).options(options);
        UnixDatagramClientEndpoint(match &unix.bind_address {
            Some(own) => destination.bind(UnixDatagramBinding::at(own.clone())),
            None => destination,
        })
    }
}

impl DatagramEndpoint for UnixDatagramClientEndpoint {
    fn open(&self, reactor: &Reactor, protocol: Box<dyn DatagramProtocol>) -> Deferred<DatagramPort> {
        reactor.connect_unix_datagram(self.0.clone(), protocol).map_err(Into::into).into()
    }
}
