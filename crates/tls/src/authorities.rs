//! The certificate authorities that are trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;

use crate::error::TlsError;
use crate::identity::{at, certificates_in, files_in, read};

/// A set of trusted certificate authorities. Clones share the certificates.
///
/// ```
/// use ropewalk_tls::Authorities;
///
/// let error = Authorities::from_pem(b"").unwrap_err();
/// assert!(error.to_string().starts_with("no certificate found"));
/// ```
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Returns the authorities of the system, as its store or its files name them.
    ///
    /// Blocks while files are read. The environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name other files.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if no authority was found. The text has the first fault.
    pub fn of_the_system() -> Result<Authorities, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(added, ignored, "the system's certificate authorities were loaded");
        if roots.is_empty() {
            let fault = found.errors.first().map_or_else(|| "none are installed".to_owned(), ToString::to_string);
            return Err(TlsError::Configuration(format!("no certificate authority of the system was found: {fault}")));
        }
        Ok(Authorities(Arc::new(roots)))
    }

    /// Returns the authorities in a PEM text.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if the text has no certificate, or a damaged one.
    pub fn from_pem(text: &[u8]) -> Result<Authorities, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates_in(text)? {
            let added = roots.add(certificate);
            added.map_err(|error| TlsError::Configuration(format!("a certificate is damaged: {error}")))?;
        }
        Ok(Authorities(Arc::new(roots)))
    }

    /// Reads authorities from a PEM file, or from all files of a folder whose names end in `.pem` or `.crt`.
    ///
    /// Blocks while the files are read.
    ///
    /// ```
    /// use ropewalk_tls::Authorities;
    ///
    /// assert!(Authorities::read("missing.pem").unwrap_err().to_string().starts_with("missing.pem: "));
    /// ```
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if a file cannot be read or has no certificate. The text begins with the path.
    pub fn read(path: impl AsRef<Path>) -> Result<Authorities, TlsError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Authorities::from_pem(&read(path)?).map_err(|error| at(path, &error));
        }
        let mut text = Vec::new();
        for file in files_in(path, &["pem", "crt"])? {
            text.extend_from_slice(&read(&file)?);
            text.push(b'\n');
        }
        Authorities::from_pem(&text).map_err(|error| at(path, &error))
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.0.clone()
    }
}
