//! A certificate chain with its private key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::TlsError;
use crate::surroundings::crypto;

/// A certificate chain and the private key that belongs to it.
///
/// Creating an identity checks that the key belongs to the certificate. Clones share the key. An identity may be sent
/// to another thread.
///
/// ```
/// use ropewalk_tls::Identity;
///
/// let error = Identity::from_pem(b"not a certificate", b"not a key").unwrap_err();
/// assert_eq!(error.to_string(), "no certificate found, expected PEM text with BEGIN CERTIFICATE");
/// ```
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl fmt::Debug for Identity {
    /// Shows the names, and nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Identity {
    /// Creates an identity from PEM texts: the certificates, the server's own first, and the private key.
    ///
    /// The key may be in the format PKCS #8, PKCS #1 or SEC1, without a password.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if there is no certificate or key in the texts, if one is damaged, or if the key
    /// does not belong to the first certificate.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Identity, TlsError> {
        Identity::from_der(certificates_in(certificates)?, private_key_in(key)?)
    }

    /// Reads an identity from files with PEM texts. `certificates` and `key` may be the same file.
    ///
    /// Blocks while the files are read.
    ///
    /// ```
    /// use ropewalk_tls::Identity;
    ///
    /// let error = Identity::read("missing.pem", "missing.pem").unwrap_err();
    /// assert!(error.to_string().starts_with("missing.pem: "));
    /// ```
    ///
    /// # Errors
    /// [`TlsError::Configuration`] as for [`from_pem`](Identity::from_pem), or if a file cannot be read. The text begins
    /// with the path.
    pub fn read(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Identity, TlsError> {
        Identity::read_chain(certificates, None, key)
    }

    /// Reads an identity as [`read`](Identity::read) does. The certificates in `chain` follow those in `certificates`.
    ///
    /// ```
    /// use ropewalk_tls::Identity;
    ///
    /// assert!(Identity::read_chain("missing.pem", Some("chain.pem".as_ref()), "key.pem").is_err());
    /// ```
    ///
    /// # Errors
    /// As [`read`](Identity::read).
    pub fn read_chain(
        certificates: impl AsRef<Path>,
        chain: Option<&Path>,
        key: impl AsRef<Path>,
    ) -> Result<Identity, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let mut all = certificates_in(&read(certificates)?).map_err(|error| at(certificates, &error))?;
        if let Some(chain) = chain {
            all.extend(certificates_in(&read(chain)?).map_err(|error| at(chain, &error))?);
        }
        let private = private_key_in(&read(key)?).map_err(|error| at(key, &error))?;
        Identity::from_der(all, private).map_err(|error| at(key, &error))
    }

    /// Reads an identity from each file of `folder` whose name ends in `.pem`, in the order of the names. Each file has
    /// certificates and their key.
    ///
    /// Blocks while the files are read.
    ///
    /// ```
    /// use ropewalk_tls::Identity;
    ///
    /// assert!(Identity::read_folder("missing").unwrap_err().to_string().starts_with("missing: "));
    /// ```
    ///
    /// # Errors
    /// [`TlsError::Configuration`] as for [`read`](Identity::read), or if there is no such file.
    pub fn read_folder(folder: impl AsRef<Path>) -> Result<Vec<Identity>, TlsError> {
        let folder = folder.as_ref();
        let files = files_in(folder, &["pem"])?;
        if files.is_empty() {
            return Err(at(folder, &"no file in this folder has a name that ends in .pem"));
        }
        files.iter().map(|file| Identity::read(file, file)).collect()
    }

    /// Creates an identity from certificates and a key that are already decoded.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] if the key is damaged or does not belong to the first certificate.
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Identity, TlsError> {
        let names = chain.first().map(dns_names).transpose()?.unwrap_or_default();
        let key = CertifiedKey::from_der(chain, key, &crypto()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Configuration("the private key does not belong to the certificate".to_owned())
            }
            other => TlsError::Configuration(format!("the certificate or the private key cannot be used: {other}")),
        })?;
        Ok(Identity { key: Arc::new(key), names })
    }

    /// Adds a response of the authority that the certificate is not revoked (OCSP), which is passed to clients.
    #[must_use]
    pub fn ocsp_response(mut self, response: Vec<u8>) -> Identity {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(response);
        self.key = Arc::new(key);
        self
    }

    /// Returns the DNS names in the certificate, in lower case. A name may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }
}

/// Reads a file. The error begins with the path.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| at(path, &error))
}

/// Returns the files of `folder` whose names have one of `extensions`, in the order of the names.
pub(crate) fn files_in(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, TlsError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let file = entry.map_err(|error| at(folder, &error))?.path();
        if file.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts the path in front of an error.
pub(crate) fn at(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Configuration(format!("{}: {error}", path.display()))
}

/// Returns the certificates in a PEM text.
pub(crate) fn certificates_in(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| TlsError::Configuration(format!("a certificate is damaged: {error}")))?;
    if chain.is_empty() {
        let none = "no certificate found, expected PEM text with BEGIN CERTIFICATE";
        return Err(TlsError::Configuration(none.to_owned()));
    }
    Ok(chain)
}

fn private_key_in(text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        TlsError::Configuration(match error {
            _ if contains(text, "BEGIN ENCRYPTED PRIVATE KEY") => {
                "the private key has a password, expected one without".to_owned()
            }
            pem::Error::NoItemsFound => "no private key found, expected PEM text with BEGIN PRIVATE KEY".to_owned(),
            damaged => format!("the private key is damaged: {damaged}"),
        })
    })
}

/// Returns the DNS names of a certificate in lower case.
fn dns_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    let parsed = parsed.map_err(|error| TlsError::Configuration(format!("the certificate is damaged: {error}")))?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}
