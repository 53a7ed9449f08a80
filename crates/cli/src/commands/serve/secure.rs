//! Whether a connection speaks TLS, and whether its peers have agreed on HTTP/2 (ALPN).

use ropewalk::Transport;

/// Returns whether the connection speaks TLS, also before the handshake has completed.
pub(super) fn is_secure(transport: &Transport) -> bool {
    transport.with_tls(|_| ()).is_some()
}

/// Returns whether HTTP/2 was agreed on. A client that offers no protocol speaks HTTP/1.1: RFC 9113, section 3.2.
pub(super) fn speaks_http2(transport: &Transport) -> bool {
    transport.negotiated_protocol().as_deref() == Some(b"h2")
}
