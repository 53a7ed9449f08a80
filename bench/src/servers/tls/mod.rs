//! Echo servers over TLS 1.3: one file for each candidate, with the same function.
//!
//! All use the same version of rustls with ring, the same certificate and the same sessions. All close in order when
//! the peer has closed.

mod ropewalk;
mod tokio;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use crate::candidate::Candidate;

/// The candidates that speak TLS.
pub(crate) const CANDIDATES: [Candidate; 3] = [Candidate::Tokio, Candidate::ROPEWALK, Candidate::Ropewalk("uring")];

/// The number of sessions of a server that resumes them: the default of [`ropewalk::tls::ServerOptions`].
const SESSIONS_MAX: usize = 4096;

/// The options of a server, in a form that each candidate can use.
pub(crate) struct Options {
    /// PEM text of the certificate and its key.
    identity: Vec<u8>,
    /// The number of sessions that clients may resume. 0 makes each handshake a full one, without tickets.
    sessions_max: usize,
}

impl Options {
    /// Reads the certificate and its key from the file `identity`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(identity: &Path, resumes: bool) -> io::Result<Options> {
        Ok(Options { identity: fs::read(identity)?, sessions_max: if resumes { SESSIONS_MAX } else { 0 } })
    }
}

/// Serves until the process exits.
///
/// # Errors
/// If the certificate cannot be used, if waiting fails, or if the candidate does not speak TLS.
pub(crate) fn serve(
    candidate: Candidate,
    listener: TcpListener,
    options: &Options,
    buffer_bytes: usize,
) -> io::Result<()> {
    match candidate {
        Candidate::Tokio => tokio::serve(listener, options, buffer_bytes),
        Candidate::Ropewalk(provider) => ropewalk::serve(provider, listener, options),
        _ => Err(io::Error::other(format!("{candidate} does not speak TLS"))),
    }
}
