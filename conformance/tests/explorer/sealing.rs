//! Places at which connections speak TLS. Both ends are in the reactor, and the keys follow from the seed.

use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use ropewalk::protocols::{TlsClientFactory, TlsServerFactory};
use ropewalk::tls::{ClientOptions, ServerOptions, TlsClient, TlsError, TlsServer};
use ropewalk::{ClientFactory, Error, Factory, Transport};
use ropewalk_conformance::certificates::{Authority, Issued};
use ropewalk_conformance::tls_ends::{NAME, tls_error};

/// The addresses of ports that speak TLS.
pub(crate) const SEALED: [&str; 2] = ["10.0.0.4:443", "/run/sealed"];

/// The limit of a handshake, which passes before the ends of a schedule are closed.
const LIMIT: Duration = Duration::from_secs(1);

/// The server and the client of all sealed places in a world.
pub(crate) struct Sealing {
    server: TlsServer,
    client: TlsClient,
}

impl Sealing {
    pub(crate) fn new() -> Sealing {
        static CERTIFICATES: OnceLock<(Authority, Issued)> = OnceLock::new();
        let (authority, issued) = CERTIFICATES.get_or_init(|| Authority::replayed(&[NAME]));
        let server = ServerOptions::new().identity(issued.identity()).handshake_timeout(LIMIT);
        let client = ClientOptions::new().authorities(authority.trusted()).handshake_timeout(LIMIT);
        let (server, client) = (TlsServer::new(server), TlsClient::new(client));
        Sealing { server: server.expect("options that work"), client: client.expect("options that work") }
    }

    /// Returns the factory for `place`: sealed, or as it is.
    pub(crate) fn server(&self, place: &str, factory: impl Factory + 'static) -> Rc<dyn Factory> {
        match SEALED.contains(&place) {
            true => Rc::new(TlsServerFactory::new(factory, &self.server)),
            false => Rc::new(factory),
        }
    }

    /// Returns the factory for `place`: sealed, or as it is.
    pub(crate) fn client(&self, place: &str, factory: impl ClientFactory + 'static) -> Rc<dyn ClientFactory> {
        match SEALED.contains(&place) {
            true => Rc::new(TlsClientFactory::new(factory, &self.client, NAME)),
            false => Rc::new(factory),
        }
    }

    /// Returns the number of handshakes in progress.
    pub(crate) fn handshakes(&self) -> usize {
        self.server.handshakes()
    }
}

/// Whether a connection has ended without close_notify.
pub(crate) fn is_truncated(reason: &Error) -> bool {
    matches!(tls_error(reason), Some(TlsError::Truncated))
}

/// Whether a connection speaks TLS.
pub(crate) fn is_sealed(transport: &Transport) -> bool {
    transport.with_tls(|_| ()).is_some()
}
