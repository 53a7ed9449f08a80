//! The identity of a server for tests and examples.
//!
//! The private key is a part of this crate, so it proves nothing. A real server has a certificate and a key of its own.
//!
//! The key is an Ed25519 key, whose signatures all have the same length. So two runs in a simulation send datagrams of
//! the same lengths, although the random bytes of TLS differ.

use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{ClientConfig, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in the certificate.
pub const NAME: &str = "localhost";

/// The application protocol that both sides name in the handshake (ALPN).
const PROTOCOL: &[u8] = b"ropewalk-example";

const CERTIFICATE: &[u8] = include_bytes!("../identity/certificate.der");
const KEY: &[u8] = include_bytes!("../identity/key.der");

/// Returns the configuration of a server that has this identity.
///
/// # Panics
/// If this build of rustls has no cipher suite for QUIC.
pub fn server() -> ServerConfig {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .expect("the key belongs to the certificate");
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("ring has the suites of QUIC")))
}

/// Returns the configuration of a client that trusts this identity alone.
///
/// # Panics
/// If this build of rustls has no cipher suite for QUIC.
pub fn client() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).expect("a certificate");
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("ring has the suites of QUIC")))
}
