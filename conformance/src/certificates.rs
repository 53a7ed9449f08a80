//! Certificates for specifications of TLS, and the options of two ends that trust each other.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use ropewalk::tls::rustls::client::WantsClientCert;
use ropewalk::tls::rustls::pki_types::pem::PemObject;
use ropewalk::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ropewalk::tls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto,
};
use ropewalk::tls::{Authorities, ClientOptions, Identity, ServerOptions, TlsClient, TlsServer};

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM texts.
pub struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    /// Creates an authority with the common name `name`.
    pub fn new(name: &str) -> Authority {
        Authority::with_key(name, KeyPair::generate().unwrap())
    }

    /// Creates an authority and a certificate of it for `names`, which are the same in every process.
    pub fn replayed(names: &[&str]) -> (Authority, Issued) {
        let authority = Authority::with_key("an authority that every process has", ed25519(1));
        let issued = authority.issue_for(names, ed25519(2), |_| ());
        (authority, issued)
    }

    fn with_key(name: &str, key: KeyPair) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Returns the set of authorities that has only this one.
    pub fn trusted(&self) -> Authorities {
        Authorities::from_pem(self.pem.as_bytes()).unwrap()
    }

    /// Issues a certificate for `names`.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| ())
    }

    /// Issues a certificate for `names` that expired in the year 2002.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 2, 3);
        })
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        // Signatures of other keys contain random bytes of the system, which no seed replays.
        self.issue_for(names, KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), change)
    }

    fn issue_for(&self, names: &[&str], key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a certificate of the specifications");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// Returns the configuration of a foreign client that trusts this authority.
    pub fn foreign_client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.trusting(versions).with_no_client_auth()
    }

    /// Returns the configuration of a foreign client that trusts this authority, and presents `chain`.
    pub fn foreign_client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> ClientConfig {
        self.trusting(versions).with_client_auth_cert(chain, key).unwrap()
    }

    fn trusting(&self, versions: &[&'static SupportedProtocolVersion]) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let crypto = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
        builder.with_root_certificates(roots)
    }
}

/// Returns the key whose secret is `byte`, repeated.
fn ed25519(byte: u8) -> KeyPair {
    // PKCS #8, RFC 8410, section 7: version 0, the algorithm, and the secret of 32 bytes.
    let mut encoded = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    encoded.extend([byte; 32]);
    KeyPair::try_from(encoded).unwrap()
}

impl Issued {
    /// Returns the certificate as a PEM text.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the key as a PEM text.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the certificate and its key as an end of this library gets them.
    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// Returns the configuration of a foreign server.
    pub fn foreign_server(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let (chain, key) = self.chain();
        Issued::foreign_server_of(versions, chain, key)
    }

    /// Returns the certificate and its key as foreign ends get them.
    pub fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }

    /// Returns the configuration of a foreign server that presents `chain`.
    pub fn foreign_server_of(
        versions: &[&'static SupportedProtocolVersion],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> ServerConfig {
        let crypto = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
        builder.with_no_client_auth().with_single_cert(chain, key).unwrap()
    }
}

/// A server for `localhost` and a client that trust each other.
pub struct Pair {
    /// The authority of the server's certificate.
    pub authority: Authority,
    /// The server's certificate.
    pub issued: Issued,
    /// The server.
    pub server: TlsServer,
    /// The client.
    pub client: TlsClient,
}

impl Pair {
    /// Creates a server and a client with the usual options.
    pub fn new() -> Pair {
        Pair::of(ServerOptions::new(), ClientOptions::new())
    }

    /// Adds the certificate to `server`, and the authority to `client`.
    pub fn of(server: ServerOptions, client: ClientOptions) -> Pair {
        let authority = Authority::new("authority of the specifications");
        let issued = authority.issue(&["localhost"]);
        let server = TlsServer::new(server.identity(issued.identity())).unwrap();
        let client = TlsClient::new(client.authorities(authority.trusted())).unwrap();
        Pair { authority, issued, server, client }
    }
}

impl Default for Pair {
    fn default() -> Pair {
        Pair::new()
    }
}
