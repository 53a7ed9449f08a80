//! A build without TLS: each connection is plain and speaks HTTP/1.1.

use ropewalk::Transport;

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Negotiated {
    Http1,
    #[allow(dead_code, reason = "only TLS negotiates")]
    Http2,
}

pub(super) fn is_secure(_transport: &Transport) -> bool {
    false
}

pub(super) fn negotiated(_transport: &Transport) -> Negotiated {
    Negotiated::Http1
}
