//! UNIX socket endpoints.
//!
//! Source: `UNIXServerEndpoint` and `UNIXClientEndpoint` of `twisted.internet.endpoints`.

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::{UnixClient, UnixServer};

use super::connecting::connecting;
use super::{StreamClientEndpoint, StreamServerEndpoint};
use crate::interfaces::unix::{UnixBinding, UnixDestination};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Port, Transport};

/// An endpoint that listens on a UNIX socket: `unix:`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::UnixBinding;
/// use ropewalk::endpoints::{StreamServerEndpoint, UnixServerEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let endpoint = UnixServerEndpoint::new(UnixBinding::new("/run/echo.sock").mode(0o600));
/// let port = endpoint.listen(&net, Rc::new(AccumulatingProtocol::new)).try_result().unwrap().unwrap();
/// assert_eq!(port.host()?.to_string(), "/run/echo.sock");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixServerEndpoint(UnixBinding);

impl UnixServerEndpoint {
    /// Creates an endpoint for `binding`, of any type that [`Reactor::listen_unix`] accepts.
    pub fn new(binding: impl Into<UnixBinding>) -> UnixServerEndpoint {
        UnixServerEndpoint(binding.into())
    }
}

impl From<&UnixServer> for UnixServerEndpoint {
    fn from(unix: &UnixServer) -> UnixServerEndpoint {
        let binding = UnixBinding::at(unix.address.clone()).backlog(unix.backlog).mode(unix.mode);
        UnixServerEndpoint(if unix.lockfile { binding.lock() } else { binding })
    }
}

impl StreamServerEndpoint for UnixServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        reactor.listen_unix(self.0.clone(), factory).map_err(Into::into).into()
    }
}

/// An endpoint that connects to a UNIX socket: `unix:`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{StreamClientEndpoint, UnixClientEndpoint};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let _server = net.listen_stream("/run/db.sock").unwrap();
/// let connected = UnixClientEndpoint::new("/run/db.sock").connect(&net, Rc::new(AccumulatingProtocol::new));
/// net.settle();
/// assert!(connected.try_result().unwrap().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct UnixClientEndpoint(UnixDestination);

impl UnixClientEndpoint {
    /// Creates an endpoint for `destination`, of any type that [`Reactor::connect_unix`] accepts.
    pub fn new(destination: impl Into<UnixDestination>) -> UnixClientEndpoint {
        UnixClientEndpoint(destination.into())
    }
}

impl From<&UnixClient> for UnixClientEndpoint {
    fn from(unix: &UnixClient) -> UnixClientEndpoint {
        let destination = UnixDestination::at(unix.address.clone()).timeout(unix.timeout);
        UnixClientEndpoint(if unix.lockfile { destination.check_lock() } else { destination })
    }
}

impl StreamClientEndpoint for UnixClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        connecting(factory, |factory| reactor.connect_unix(self.0.clone(), factory))
    }
}
