//! IReactorSSL, ITLSTransport and ISSLTransport: TLS on new and on existing connections.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Moment;
use ropewalk_tls::{CertificateDer, Surroundings, TlsClient, TlsError, TlsLayer, TlsServer};

use super::tcp::{Binding, Destination};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::{ClientFactory, Factory, TlsClientFactory, TlsServerFactory};
use crate::transports::{Connector, Port, Transport};

/// The time since 1970 at which the clock of a simulated network starts: 2026-01-01 00:00 UTC.
const SIMULATED_START: Duration = Duration::from_secs(1_767_225_600);

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Error {
        Error::io("cannot use TLS")(error.into())
    }
}

impl Reactor {
    /// Accepts TCP connections that speak TLS. `factory` builds a protocol for each connection.
    ///
    /// [`connection_made`](crate::Protocol::connection_made) is called when the connection is accepted. Bytes that the
    /// protocol writes wait for the handshake. When the handshake has completed,
    /// [`layer_opened`](crate::Protocol::layer_opened) is called, and the bytes of the peer follow.
    ///
    /// May be called from any callback.
    ///
    /// Source: `IReactorSSL.listenSSL`.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::tls::{Identity, ServerOptions, TlsServer};
    ///
    /// fn listen(reactor: &Reactor, factory: impl Factory + 'static) -> Result<Port, Error> {
    ///     let identity = Identity::read("/etc/example/certificate.pem", "/etc/example/key.pem")?;
    ///     let tls = TlsServer::new(ServerOptions::new().identity(identity))?;
    ///     reactor.listen_tls(":443", factory, &tls)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`listen_tcp`](Reactor::listen_tcp).
    pub fn listen_tls<B>(&self, binding: B, factory: impl Factory + 'static, tls: &TlsServer) -> Result<Port>
    where
        B: TryInto<Binding>,
        Error: From<B::Error>,
    {
        self.listen_tcp(binding, TlsServerFactory::new(factory, tls))
    }

    /// Connects over TCP and TLS. `factory` builds the protocol.
    ///
    /// The server's certificate must be valid for the host in `destination`. The protocol's callbacks are those of
    /// [`listen_tls`](Reactor::listen_tls). After a failed handshake the
    /// reason of the end is [`Error::ConnectionLost`], whose source is a [`TlsError`].
    ///
    /// May be called from any callback.
    ///
    /// Source: `IReactorSSL.connectSSL`.
    ///
    /// ```no_run
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::AccumulatingProtocol;
    /// use ropewalk::tls::{ClientOptions, TlsClient};
    ///
    /// let reactor = Reactor::new()?;
    /// let tls = TlsClient::new(ClientOptions::new())?;
    /// reactor.connect_tls("example.org:443", AccumulatingProtocol::new, &tls)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`connect_tcp`](Reactor::connect_tcp), and [`Error::Io`] if the host cannot be the name of a server.
    pub fn connect_tls<D>(
        &self,
        destination: D,
        factory: impl ClientFactory + 'static,
        tls: &TlsClient,
    ) -> Result<Connector>
    where
        D: TryInto<Destination>,
        Error: From<D::Error>,
    {
        self.connect_tls_to(destination.try_into()?, factory, tls)
    }

    fn connect_tls_to(
        &self,
        destination: Destination,
        factory: impl ClientFactory + 'static,
        tls: &TlsClient,
    ) -> Result<Connector> {
        let host = destination.host();
        // A wrong name is an error of the caller, and not of each connection.
        tls.layer(&host)?;
        self.connect_tcp(destination, TlsClientFactory::new(factory, tls, &host))
    }
}

impl Transport {
    /// Starts TLS on this connection, as the server or the client that has created `layer`.
    ///
    /// Bytes written before this call are sent in clear. Bytes written after it wait for the handshake. Received bytes
    /// that the protocol has not processed belong to the handshake: see [`start_layer`](Transport::start_layer). When
    /// the handshake has completed, [`layer_opened`](crate::Protocol::layer_opened) is called. A handshake that takes
    /// too long resets the connection.
    ///
    /// May be called from any callback, and from outside.
    ///
    /// Source: `ITLSTransport.startTLS`.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::basic::{LineProtocol, LineTransport};
    /// use ropewalk::tls::TlsServer;
    ///
    /// struct Mail {
    ///     tls: TlsServer,
    /// }
    ///
    /// impl LineProtocol for Mail {
    ///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
    ///         if line == b"STARTTLS" {
    ///             lines.send_line(b"220 go ahead");
    ///             if let Err(error) = lines.start_tls(self.tls.layer()) {
    ///                 eprintln!("{error}");
    ///                 lines.abort_connection();
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`start_layer`](Transport::start_layer).
    pub fn start_tls(&self, layer: TlsLayer) -> Result<()> {
        let limit = layer.handshake_timeout();
        let reactor = self.try_reactor().ok_or(Error::Closed)?;
        let layer = layer.on_choice(Rc::new(self.layer_waker()));
        let layer = match reactor.tls_surroundings() {
            Some(surroundings) => layer.within(surroundings),
            None => layer,
        };
        self.start_layer(Box::new(layer), limit)
    }

    /// Calls `ask` with the TLS of this connection. Returns `None` if it has none.
    ///
    /// `ask` must not use this transport. May be called from any callback.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert_eq!(transport.with_tls(|tls| tls.version()), None);
    /// ```
    pub fn with_tls<R>(&self, ask: impl FnOnce(&TlsLayer) -> R) -> Option<R> {
        self.with_layer(|layer| layer.downcast_ref::<TlsLayer>().map(ask)).flatten()
    }

    /// Returns the peer's certificate, once the handshake has completed.
    ///
    /// Source: `ISSLTransport.getPeerCertificate`.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// assert!(StringTransport::new().peer_certificate().is_none());
    /// ```
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.with_tls(|tls| tls.peer_certificates().first().cloned()).flatten()
    }

    /// Returns the application protocol (ALPN) that both sides have agreed on, once the handshake has completed.
    ///
    /// Source: `INegotiated.negotiatedProtocol`.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// assert!(StringTransport::new().negotiated_protocol().is_none());
    /// ```
    pub fn negotiated_protocol(&self) -> Option<Vec<u8>> {
        self.with_tls(|tls| tls.negotiated_protocol().map(<[u8]>::to_vec)).flatten()
    }
}

impl Reactor {
    /// Returns the randomness and the time of a simulated network. `None` if the system's are to be used.
    fn tls_surroundings(&self) -> Option<Surroundings> {
        let seed = self.0.random_seed()?;
        let reactor = self.downgrade();
        let now = move || reactor.upgrade().map_or(Duration::ZERO, |reactor| reactor.now().since(Moment::ZERO));
        Some(Surroundings::seeded(seed, Rc::new(move || SIMULATED_START + now())))
    }
}
