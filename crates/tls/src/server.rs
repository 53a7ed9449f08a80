//! The server's side: options, and the configuration for new connections.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::Deferred;
use rustls::KeyLog;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::authorities::Authorities;
use crate::error::TlsError;
use crate::hello::Hello;
use crate::identity::Identity;
use crate::layer::TlsLayer;
use crate::names::matches;
use crate::notes;
use crate::surroundings::{SurroundingTime, crypto};
use crate::verifying::Noting;
use crate::versions::{Version, since};

/// The default time limit for a handshake, counted from the start of the connection.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The default number of connections whose handshake is not completed.
const HANDSHAKES_MAX: usize = 1024;
/// The default number of sessions that clients may resume.
const SESSIONS_MAX: usize = 4096;

pub(crate) type Choose = Rc<dyn Fn(&Hello) -> Deferred<TlsServer>>;

/// The options of a [`TlsServer`].
///
/// ```
/// use std::time::Duration;
/// use ropewalk_tls::{ServerOptions, Version};
///
/// let options = ServerOptions::new()
///     .application_protocols(["h2", "http/1.1"])
///     .oldest_version(Version::Tls13)
///     .handshake_timeout(Duration::from_secs(5))
///     .handshakes_max(100);
/// assert!(format!("{options:?}").contains("h2"));
/// ```
#[derive(Clone)]
pub struct ServerOptions {
    identities: Vec<Identity>,
    application_protocols: Vec<Vec<u8>>,
    needs_application_protocol: bool,
    clients: Clients,
    oldest: Version,
    refuses_unknown_names: bool,
    sessions_max: usize,
    handshake_timeout: Duration,
    handshakes_max: usize,
    accepts_truncation: bool,
    key_log: Option<Arc<dyn KeyLog>>,
    choose: Option<Choose>,
}

/// The certificates that clients must have.
#[derive(Clone, Debug)]
enum Clients {
    NotAsked,
    Asked(Authorities),
    Required(Authorities),
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("identities", &self.identities)
            .field("application_protocols", &words(&self.application_protocols))
            .field("oldest", &self.oldest)
            .finish_non_exhaustive()
    }
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions::new()
    }
}

impl ServerOptions {
    /// Creates options without a certificate. TLS 1.2 and 1.3 are accepted. A handshake may take 10 seconds, up to 1024
    /// handshakes may be in progress, and up to 4096 sessions may be resumed.
    pub fn new() -> ServerOptions {
        ServerOptions {
            identities: Vec::new(),
            application_protocols: Vec::new(),
            needs_application_protocol: false,
            clients: Clients::NotAsked,
            oldest: Version::Tls12,
            refuses_unknown_names: false,
            sessions_max: SESSIONS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            handshakes_max: HANDSHAKES_MAX,
            accepts_truncation: false,
            key_log: None,
            choose: None,
        }
    }

    /// Adds a certificate with its key. A client that asks for a name gets the certificate for this name. All other
    /// clients get the first certificate.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> ServerOptions {
        self.identities.push(identity);
        self
    }

    /// Refuses clients that ask for a name for which there is no certificate.
    #[must_use]
    pub fn refuse_unknown_names(mut self) -> ServerOptions {
        self.refuses_unknown_names = true;
        self
    }

    /// Sets the application protocols (ALPN), the favourite first. A client that offers others is refused. A client that
    /// offers none is accepted.
    #[must_use]
    pub fn application_protocols<P: AsRef<[u8]>>(mut self, names: impl IntoIterator<Item = P>) -> ServerOptions {
        self.application_protocols = names.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Also refuses clients that offer no application protocol.
    #[must_use]
    pub fn require_application_protocol(mut self) -> ServerOptions {
        self.needs_application_protocol = true;
        self
    }

    /// Asks clients for a certificate that one of `authorities` has issued. Clients without one are accepted.
    #[must_use]
    pub fn ask_for_client_certificates(mut self, authorities: Authorities) -> ServerOptions {
        self.clients = Clients::Asked(authorities);
        self
    }

    /// Refuses clients without a certificate that one of `authorities` has issued.
    ///
    /// With TLS 1.3 a client learns of the refusal only after its own handshake has completed.
    #[must_use]
    pub fn require_client_certificates(mut self, authorities: Authorities) -> ServerOptions {
        self.clients = Clients::Required(authorities);
        self
    }

    /// Refuses versions older than `version`.
    #[must_use]
    pub fn oldest_version(mut self, version: Version) -> ServerOptions {
        self.oldest = version;
        self
    }

    /// Sets the number of sessions that clients may resume. 0 makes each handshake a full one.
    ///
    /// Sessions belong to one [`TlsServer`]. Another server, or the same one after
    /// [`replace`](TlsServer::replace), does not resume them.
    #[must_use]
    pub fn sessions_max(mut self, sessions: usize) -> ServerOptions {
        self.sessions_max = sessions;
        self
    }

    /// Sets the time limit for a handshake, counted from the start of the connection. A late connection is reset.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> ServerOptions {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the maximum number of connections whose handshake is in progress. Further connections are closed.
    #[must_use]
    pub fn handshakes_max(mut self, connections: usize) -> ServerOptions {
        self.handshakes_max = connections;
        self
    }

    /// Treats the end of the stream without close_notify as an orderly end.
    ///
    /// Use this for a protocol whose messages carry their length. Otherwise an attacker can cut the stream unnoticed.
    #[must_use]
    pub fn accept_truncation(mut self) -> ServerOptions {
        self.accepts_truncation = true;
        self
    }

    /// Passes the secrets of each connection to `log`, for tools that decrypt recorded traffic: [`key_log_file`](crate::key_log_file).
    #[must_use]
    pub fn key_log(mut self, log: Arc<dyn KeyLog>) -> ServerOptions {
        self.key_log = Some(log);
        self
    }

    /// Calls `choose` with the client's first message, to choose the server whose options the connection gets.
    ///
    /// The Deferred may fire later. Its handshake continues then. If the Deferred fails, the connection is refused. Of
    /// these options only the limits of the handshake apply.
    ///
    /// ```
    /// use ropewalk_proto::succeed;
    /// use ropewalk_tls::{ServerOptions, TlsError, TlsServer};
    ///
    /// fn by_name(inner: TlsServer, public: TlsServer) -> Result<TlsServer, TlsError> {
    ///     TlsServer::new(ServerOptions::new().choose(move |hello| {
    ///         let is_inner = hello.server_name.as_deref() == Some("inner.example.org");
    ///         succeed(if is_inner { inner.clone() } else { public.clone() })
    ///     }))
    /// }
    /// # let _ = by_name;
    /// ```
    #[must_use]
    pub fn choose(mut self, choose: impl Fn(&Hello) -> Deferred<TlsServer> + 'static) -> ServerOptions {
        self.choose = Some(Rc::new(choose));
        self
    }

    fn build(self) -> Result<Served, TlsError> {
        let options = match self.choose.clone() {
            Some(choose) => Options::Chosen(choose),
            None => Options::Own { config: Arc::new(self.config()?), needed_protocols: self.needed_protocols() },
        };
        Ok(Served {
            options,
            handshake_timeout: self.handshake_timeout,
            handshakes_max: self.handshakes_max,
            accepts_truncation: self.accepts_truncation,
        })
    }

    /// Returns the protocols of which a client must offer one. Empty if it may offer none.
    fn needed_protocols(&self) -> Vec<Vec<u8>> {
        if self.needs_application_protocol { self.application_protocols.clone() } else { Vec::new() }
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        if self.identities.is_empty() {
            return Err(unusable("a TLS server needs at least one certificate with its key"));
        }
        if self.needs_application_protocol && self.application_protocols.is_empty() {
            return Err(unusable("an application protocol is required, but none is given"));
        }
        let builder = ServerConfig::builder_with_details(crypto(), Arc::new(SurroundingTime));
        let builder = builder.with_protocol_versions(since(self.oldest)).map_err(unusable)?;
        let builder = match &self.clients {
            Clients::NotAsked => builder.with_no_client_auth(),
            Clients::Asked(authorities) => builder.with_client_cert_verifier(verifier(authorities, false)?),
            Clients::Required(authorities) => builder.with_client_cert_verifier(verifier(authorities, true)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates {
            identities: self.identities.iter().map(|one| (one.names().to_vec(), one.certified_key())).collect(),
            refuses_unknown_names: self.refuses_unknown_names,
        }));
        config.alpn_protocols.clone_from(&self.application_protocols);
        config.session_storage = match self.sessions_max {
            0 => Arc::new(rustls::server::NoServerSessionStorage {}),
            sessions => ServerSessionMemoryCache::new(sessions),
        };
        if self.sessions_max == 0 {
            config.send_tls13_tickets = 0;
        }
        if let Some(log) = &self.key_log {
            config.key_log = log.clone();
        }
        Ok(config)
    }
}

fn verifier(
    authorities: &Authorities,
    is_required: bool,
) -> Result<Arc<Noting<dyn rustls::server::danger::ClientCertVerifier>>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(authorities.roots(), crypto());
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    Ok(Arc::new(Noting(builder.build().map_err(unusable)?)))
}

pub(crate) fn unusable(error: impl fmt::Display) -> TlsError {
    TlsError::Configuration(error.to_string())
}

/// Returns the names of protocols as text.
pub(crate) fn words(protocols: &[Vec<u8>]) -> Vec<String> {
    protocols.iter().map(|name| name.escape_ascii().to_string()).collect()
}

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
struct Certificates {
    identities: Vec<(Vec<String>, Arc<CertifiedKey>)>,
    refuses_unknown_names: bool,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.as_ref().and_then(|name| {
            self.identities.iter().find(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, name)))
        });
        notes::write(|notes| {
            notes.unknown_name = name.clone().filter(|_| found.is_none() && self.refuses_unknown_names);
            notes.server_name = name;
        });
        match found {
            Some((_, key)) => Some(key.clone()),
            None if self.refuses_unknown_names => None,
            None => self.identities.first().map(|(_, key)| key.clone()),
        }
    }
}

/// The TLS of a server, for any number of ports and connections.
///
/// Clones are handles of the same server. A handle cannot be sent to another thread.
///
/// ```
/// use ropewalk_tls::{Identity, ServerOptions, TlsError, TlsServer};
///
/// fn server(certificate: &[u8], key: &[u8]) -> Result<TlsServer, TlsError> {
///     TlsServer::new(ServerOptions::new().identity(Identity::from_pem(certificate, key)?))
/// }
/// assert!(server(b"", b"").is_err());
/// ```
#[derive(Clone)]
pub struct TlsServer(Rc<Shared>);

struct Shared {
    served: RefCell<Rc<Served>>,
    /// The number of layers whose handshake is in progress.
    handshakes: Rc<Cell<usize>>,
}

/// The configuration of new connections.
pub(crate) struct Served {
    pub(crate) options: Options,
    pub(crate) handshake_timeout: Duration,
    handshakes_max: usize,
    pub(crate) accepts_truncation: bool,
}

/// The options that a connection gets.
pub(crate) enum Options {
    /// Those of this server. A client must offer one of the needed protocols, unless there are none.
    Own { config: Arc<ServerConfig>, needed_protocols: Vec<Vec<u8>> },
    /// Those of a server that is chosen by the client's first message.
    Chosen(Choose),
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("handshakes", &self.handshakes()).finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Creates a server from `options`.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if an option cannot be used.
    pub fn new(options: ServerOptions) -> Result<TlsServer, TlsError> {
        let served = RefCell::new(Rc::new(options.build()?));
        Ok(TlsServer(Rc::new(Shared { served, handshakes: Rc::default() })))
    }

    /// Replaces the options for new connections. Connections that exist keep theirs, and sessions end.
    ///
    /// May be called from any callback.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if an option cannot be used. The server then keeps its present options.
    pub fn replace(&self, options: ServerOptions) -> Result<(), TlsError> {
        let served = Rc::new(options.build()?);
        drop(self.0.served.replace(served));
        Ok(())
    }

    /// Creates the layer of one connection.
    pub fn layer(&self) -> TlsLayer {
        TlsLayer::server(self.served(), Handshake::begin(&self.0.handshakes))
    }

    /// Returns the number of layers whose handshake is in progress.
    pub fn handshakes(&self) -> usize {
        self.0.handshakes.get()
    }

    /// Returns whether as many handshakes are in progress as the options allow.
    pub fn is_full(&self) -> bool {
        self.handshakes() >= self.served().handshakes_max
    }

    pub(crate) fn served(&self) -> Rc<Served> {
        self.0.served.borrow().clone()
    }
}

/// The place of one handshake in progress.
pub(crate) struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn begin(handshakes: &Rc<Cell<usize>>) -> Handshake {
        handshakes.set(handshakes.get() + 1);
        Handshake(handshakes.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
