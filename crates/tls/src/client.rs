//! The client's side: options, and the configuration for new connections.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::KeyLog;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};

use crate::authorities::Authorities;
use crate::error::TlsError;
use crate::identity::Identity;
use crate::layer::TlsLayer;
use crate::names::server_name;
use crate::server::{HANDSHAKE_TIMEOUT, unusable, words};
use crate::surroundings::{SurroundingTime, crypto};
use crate::verifying::Noting;
use crate::versions::{Version, since};

/// The default number of servers whose sessions are kept for resumption.
const SESSIONS_MAX: usize = 256;

/// The options of a [`TlsClient`].
///
/// ```
/// use ropewalk_tls::{ClientOptions, Version};
///
/// let options = ClientOptions::new().application_protocols(["http/1.1"]).oldest_version(Version::Tls13);
/// assert!(format!("{options:?}").contains("http/1.1"));
/// ```
#[derive(Clone)]
pub struct ClientOptions {
    authorities: Option<Authorities>,
    identity: Option<Identity>,
    application_protocols: Vec<Vec<u8>>,
    oldest: Version,
    server_name: Option<String>,
    sessions_max: usize,
    handshake_timeout: Duration,
    accepts_truncation: bool,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("identity", &self.identity)
            .field("application_protocols", &words(&self.application_protocols))
            .field("oldest", &self.oldest)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions::new()
    }
}

impl ClientOptions {
    /// Creates options that trust the authorities of the system, and accept TLS 1.2 and 1.3. A handshake may take 10
    /// seconds, and sessions of 256 servers are kept for resumption.
    pub fn new() -> ClientOptions {
        ClientOptions {
            authorities: None,
            identity: None,
            application_protocols: Vec::new(),
            oldest: Version::Tls12,
            server_name: None,
            sessions_max: SESSIONS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            accepts_truncation: false,
            key_log: None,
        }
    }

    /// Trusts `authorities` instead of those of the system.
    #[must_use]
    pub fn authorities(mut self, authorities: Authorities) -> ClientOptions {
        self.authorities = Some(authorities);
        self
    }

    /// Sets the certificate for servers that ask for one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> ClientOptions {
        self.identity = Some(identity);
        self
    }

    /// Sets the application protocols (ALPN) that are offered, the favourite first.
    #[must_use]
    pub fn application_protocols<P: AsRef<[u8]>>(mut self, names: impl IntoIterator<Item = P>) -> ClientOptions {
        self.application_protocols = names.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Refuses versions older than `version`.
    #[must_use]
    pub fn oldest_version(mut self, version: Version) -> ClientOptions {
        self.oldest = version;
        self
    }

    /// Expects `name` in the server's certificate instead of the host that the connection is made to.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> ClientOptions {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Sets the number of servers whose sessions are kept for resumption. 0 makes each handshake a full one.
    #[must_use]
    pub fn sessions_max(mut self, servers: usize) -> ClientOptions {
        self.sessions_max = servers;
        self
    }

    /// Sets the time limit for a handshake. A late connection is reset.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> ClientOptions {
        self.handshake_timeout = timeout;
        self
    }

    /// Treats the end of the stream without close_notify as an orderly end.
    ///
    /// Use this for a protocol whose messages carry their length. Otherwise an attacker can cut the stream unnoticed.
    #[must_use]
    pub fn accept_truncation(mut self) -> ClientOptions {
        self.accepts_truncation = true;
        self
    }

    /// Passes the secrets of each connection to `log`, for tools that decrypt recorded traffic: [`key_log_file`](crate::key_log_file).
    #[must_use]
    pub fn key_log(mut self, log: Arc<dyn KeyLog>) -> ClientOptions {
        self.key_log = Some(log);
        self
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let authorities = match &self.authorities {
            Some(authorities) => authorities.clone(),
            None => Authorities::of_the_system()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(authorities.roots(), crypto());
        let verifier: Arc<dyn ServerCertVerifier> = verifier.build().map_err(unusable)?;
        let builder = ClientConfig::builder_with_details(crypto(), Arc::new(SurroundingTime));
        let builder = builder.with_protocol_versions(since(self.oldest)).map_err(unusable)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Noting(verifier)));
        let mut config = match &self.identity {
            Some(identity) => {
                let key = rustls::sign::SingleCertAndKey::from(identity.certified_key());
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.application_protocols);
        config.resumption = match self.sessions_max {
            0 => Resumption::disabled(),
            servers => Resumption::in_memory_sessions(servers),
        };
        if let Some(log) = &self.key_log {
            config.key_log = log.clone();
        }
        Ok(config)
    }
}

/// The TLS of a client, for any number of connections.
///
/// Sessions are resumed among the connections of one client. Clones are handles of the same client. A handle cannot be
/// sent to another thread.
///
/// ```
/// use ropewalk_tls::{Authorities, ClientOptions, TlsClient, TlsError};
///
/// fn client(authority: &[u8]) -> Result<TlsClient, TlsError> {
///     TlsClient::new(ClientOptions::new().authorities(Authorities::from_pem(authority)?))
/// }
/// assert!(client(b"").is_err());
/// ```
#[derive(Clone)]
pub struct TlsClient(Rc<Connected>);

/// The configuration of new connections.
pub(crate) struct Connected {
    pub(crate) config: Arc<ClientConfig>,
    server_name: Option<String>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) accepts_truncation: bool,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.0.server_name).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Creates a client from `options`.
    ///
    /// Blocks while the authorities of the system are read, if the options name no others.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if an option cannot be used.
    pub fn new(options: ClientOptions) -> Result<TlsClient, TlsError> {
        let config = Arc::new(options.config()?);
        if let Some(name) = &options.server_name {
            server_name(name)?;
        }
        Ok(TlsClient(Rc::new(Connected {
            config,
            server_name: options.server_name,
            handshake_timeout: options.handshake_timeout,
            accepts_truncation: options.accepts_truncation,
        })))
    }

    /// Creates the layer of one connection to `host`, a name or an address that the server's certificate must have.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if `host` is not a name or an address.
    pub fn layer(&self, host: &str) -> Result<TlsLayer, TlsError> {
        let name = server_name(self.0.server_name.as_deref().unwrap_or(host))?;
        Ok(TlsLayer::client(&self.0, name))
    }
}
