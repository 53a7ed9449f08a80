//! Sends a PROXY header at the start of each connection to the target, before TLS begins.
//!
//! ```text
//!   tls:HOST:PORT --> TLS -----> announcing --> tcp:HOST:PORT
//!                     handshake  header first
//! ```
//!
//! The header precedes the handshake, so it belongs below TLS: around the innermost endpoint of the target. But the
//! endpoint is parsed once, and the addresses are those of one client. So the header lies ready while
//! [`Announcement::connect`] runs. Each endpoint connects the one inside it before its own `connect` returns.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use ropewalk::endpoints::{Endpoints, StreamClientEndpoint};
use ropewalk::proto::description::DescriptionError;
use ropewalk::protocols::policies::on_connection;
use ropewalk::{Address, Bytes, Deferred, Error, Factory, Protocol, Reactor, Transport};

use super::proxy_header;
use crate::arguments::ProxyVersion;
use crate::endpoint_types::{TLS, endpoints};

/// A target whose connections begin with a header.
pub(super) struct Announcement {
    target: Rc<dyn StreamClientEndpoint>,
    version: ProxyVersion,
    ready: Ready,
}

/// The header of the connection that is being requested.
type Ready = Rc<RefCell<Bytes>>;

impl Announcement {
    /// Parses the description of a target.
    ///
    /// # Errors
    /// If the description is wrong.
    pub(super) fn parse(description: &str, version: ProxyVersion) -> Result<Announcement, DescriptionError> {
        let (registry, ready) = (endpoints(), Ready::default());
        for name in registry.client_names().iter().filter(|name| !TLS.contains(&name.as_str())) {
            let ready = ready.clone();
            registry.register_client(name, move |_, description| {
                let inner = Endpoints::new().client(description.text())?;
                Ok(Rc::new(Announcing { inner, ready: ready.clone() }))
            });
        }
        Ok(Announcement { target: registry.client(description)?, version, ready })
    }

    /// Connects to the target. The header has the addresses of `client`.
    pub(super) fn connect(&self, client: &Transport, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        // A client that is already gone has no address of its own any more.
        let destination = client.host().unwrap_or(Address::Unnamed);
        let header = proxy_header::encode(self.version, client.peer(), &destination);
        self.ready.replace(header.into());
        let connecting = self.target.connect(&client.reactor(), factory);
        self.ready.take();
        connecting
    }
}

/// The innermost endpoint of a target.
struct Announcing {
    inner: Rc<dyn StreamClientEndpoint>,
    ready: Ready,
}

impl StreamClientEndpoint for Announcing {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        let header = self.ready.borrow().clone();
        self.inner.connect(reactor, Rc::new(AnnouncingFactory { factory, header }))
    }
}

/// A factory whose connections begin with a header.
struct AnnouncingFactory {
    factory: Rc<dyn Factory>,
    header: Bytes,
}

impl Factory for AnnouncingFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let (protocol, header) = (self.factory.build_protocol(peer)?, self.header.clone());
        Some(on_connection(protocol, move |transport| transport.write_bytes(header)))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        self.factory.reserve()
    }

    fn is_paced(&self) -> bool {
        self.factory.is_paced()
    }

    fn start_factory(&self) {
        self.factory.start_factory();
    }

    fn stop_factory(&self) {
        self.factory.stop_factory();
    }

    fn accept_failed(&self, reason: &Error) {
        self.factory.accept_failed(reason);
    }
}

#[cfg(test)]
mod tests {
    use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};

    use super::*;

    #[test]
    fn each_connection_has_the_header_of_its_own_client() {
        let net = MemoryReactor::new();
        let target = net.listen_stream("10.0.0.2:7").unwrap();
        let announcement = Rc::new(Announcement::parse("tcp:10.0.0.2:7", ProxyVersion::V1).unwrap());
        let clients = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", clients.factory()).unwrap();
        let mut outgoing = Vec::new();
        for _ in 0..2 {
            let client = net.connect_stream("10.0.0.1:80");
            net.settle();
            let accepted = clients.transport().unwrap();
            outgoing.push(announcement.connect(&accepted, Rc::new(AccumulatingProtocol::new)));
            drop(client);
        }
        // Both were requested before either is made.
        net.settle();
        let headers = [(); 2].map(|()| String::from_utf8(target.accept().unwrap().received()).unwrap());
        assert!(headers.iter().all(|header| header.starts_with("PROXY TCP4 ")), "{headers:?}");
        assert_ne!(headers[0], headers[1]);
    }
}
