//! Notes that rustls' callbacks leave during one call into rustls: the name a client asks for, a refused certificate.
//!
//! rustls calls a verifier or a resolver, which belong to a configuration, in the middle of a call for one connection.
//! These callbacks leave a note here, and the layer of that connection takes it after the call, on the same thread.

use std::cell::RefCell;

use rustls::pki_types::CertificateDer;

/// The notes of one call.
#[derive(Default)]
pub(crate) struct Notes {
    /// The name that the client asked for.
    pub(crate) server_name: Option<String>,
    /// The refused chain, the peer's own certificate first.
    pub(crate) refused: Vec<CertificateDer<'static>>,
    /// The server's proof that its certificate is not revoked.
    pub(crate) ocsp_response: Vec<u8>,
    /// The name for which the server has no certificate.
    pub(crate) unknown_name: Option<String>,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// Lets `write` change the notes of the running call.
pub(crate) fn write(write: impl FnOnce(&mut Notes)) {
    NOTES.with_borrow_mut(write);
}

/// Removes and returns the notes.
pub(crate) fn take() -> Notes {
    NOTES.take()
}
