//! Factories whose connections speak TLS, over any kind of stream.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Address;
use ropewalk_tls::{TlsClient, TlsServer};

use super::policies::on_connection;
use super::{ClientFactory, Factory, Protocol};
use crate::error::Error;
use crate::kernel::Reactor;
use crate::transports::{Connector, Transport};

/// The time between two log lines about refused connections.
const LINES_APART: Duration = Duration::from_secs(10);

/// Puts TLS on each connection of another factory, as a server.
///
/// [`Reactor::listen_tls`](crate::Reactor::listen_tls) uses it. Use it yourself for other ports, such as UNIX sockets.
/// A connection beyond [`handshakes_max`](ropewalk_tls::ServerOptions::handshakes_max) is closed.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::TlsServerFactory;
/// use ropewalk::tls::TlsServer;
///
/// fn listen(reactor: &Reactor, tls: &TlsServer, factory: impl Factory + 'static) -> Result<Port, Error> {
///     reactor.listen_unix("/run/example/tls.sock", TlsServerFactory::new(factory, tls))
/// }
/// ```
pub struct TlsServerFactory<F> {
    factory: F,
    tls: TlsServer,
}

impl<F: Factory> TlsServerFactory<F> {
    /// Creates a factory whose protocols are those of `factory`.
    pub fn new(factory: F, tls: &TlsServer) -> TlsServerFactory<F> {
        TlsServerFactory { factory, tls: tls.clone() }
    }
}

impl<F: Factory> Factory for TlsServerFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if self.tls.is_full() {
            log_refusal(peer);
            return None;
        }
        let protocol = self.factory.build_protocol(peer)?;
        let tls = self.tls.clone();
        Some(on_connection(protocol, move |transport| start(transport, || Ok(tls.layer()))))
    }

    super::forward::forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

/// Puts TLS on each connection of another factory, as a client of one host.
///
/// [`Reactor::connect_tls`](crate::Reactor::connect_tls) uses it. Use it yourself for other connections, such as UNIX
/// sockets.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::TlsClientFactory;
/// use ropewalk::tls::TlsClient;
///
/// fn connect(reactor: &Reactor, tls: &TlsClient, factory: impl ClientFactory + 'static) -> Result<Connector, Error> {
///     reactor.connect_unix("/run/example/tls.sock", TlsClientFactory::new(factory, tls, "example.org"))
/// }
/// ```
pub struct TlsClientFactory<F> {
    factory: F,
    tls: TlsClient,
    host: Rc<str>,
}

impl<F: Factory> TlsClientFactory<F> {
    /// Creates a factory whose protocols are those of `factory`. `host` is the name or the address that the server's
    /// certificate must have.
    pub fn new(factory: F, tls: &TlsClient, host: &str) -> TlsClientFactory<F> {
        TlsClientFactory { factory, tls: tls.clone(), host: host.into() }
    }
}

impl<F: Factory> Factory for TlsClientFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = self.factory.build_protocol(peer)?;
        let (tls, host) = (self.tls.clone(), self.host.clone());
        Some(on_connection(protocol, move |transport| start(transport, || tls.layer(&host))))
    }

    super::forward::forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

super::forward::forward_client_factory!(TlsClientFactory);

/// Logs that there are too many handshakes, at a low level and once in a while, because any peer can cause this line.
fn log_refusal(peer: &Address) {
    let line = "a connection is closed, because too many handshakes are in progress";
    if let Some(reactor) = Reactor::current() {
        reactor.limit_log(LINES_APART, line, |suppressed| {
            tracing::info!(%peer, suppressed = suppressed.unwrap_or(0), "{line}");
        });
    }
}

/// Starts the layer of a new connection. A connection without its layer must not carry plain bytes.
fn start(transport: &Transport, layer: impl FnOnce() -> Result<ropewalk_tls::TlsLayer, ropewalk_tls::TlsError>) {
    let started = layer().map_err(Error::from).and_then(|layer| transport.start_tls(layer));
    if let Err(error) = started {
        tracing::warn!(peer = %transport.peer(), %error, "TLS cannot start, so the connection is reset");
        transport.abort_connection();
    }
}
