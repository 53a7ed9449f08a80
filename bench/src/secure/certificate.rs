//! A certificate of this run. The server reads it from a file, and the client trusts it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::KeyPair;
use ropewalk::tls::rustls::client::Resumption;
use ropewalk::tls::rustls::pki_types::CertificateDer;
use ropewalk::tls::rustls::version::TLS13;
use ropewalk::tls::rustls::{ClientConfig, RootCertStore, crypto};

/// The name in the certificate.
pub(super) const NAME: &str = "localhost";

/// The default number of sessions of a client of rustls.
const SESSIONS_MAX: usize = 256;

/// A certificate with a P-256 key, in a file that is removed when this is dropped.
pub(crate) struct Certificate {
    file: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Creates a certificate and writes the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn create() -> io::Result<Certificate> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("ropewalk-bench-{}-{number}.pem", std::process::id()));
        let signed = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(io::Error::other)?;
        fs::write(&file, in_one_text(&signed.cert.pem(), &signed.signing_key))?;
        Ok(Certificate { file, der: signed.cert.der().clone() })
    }

    /// Returns the path of the file with the certificate and its key.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the options of a client that speaks TLS 1.3 and trusts the certificate.
    ///
    /// # Errors
    /// If the certificate cannot be trusted.
    pub(super) fn trusted(&self, resumes: bool) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(io::Error::other)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = if resumes { Resumption::in_memory_sessions(SESSIONS_MAX) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }
}

fn in_one_text(certificate: &str, key: &KeyPair) -> String {
    format!("{certificate}{}", key.serialize_pem())
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
