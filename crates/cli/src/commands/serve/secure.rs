//! Whether a connection speaks TLS, and the protocol that its peers have agreed on (ALPN).

use ropewalk::Transport;

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Negotiated {
    Http1,
    Http2,
}

/// Returns whether the connection speaks TLS, also before the handshake has completed.
pub(super) fn is_secure(transport: &Transport) -> bool {
    transport.with_tls(|_| ()).is_some()
}

/// Returns the version that was agreed on. A client that offers no protocol speaks HTTP/1.1: RFC 9113, section 3.2.
pub(super) fn negotiated(transport: &Transport) -> Negotiated {
    match transport.negotiated_protocol().as_deref() {
        Some(b"h2") => Negotiated::Http2,
        _ => Negotiated::Http1,
    }
}
