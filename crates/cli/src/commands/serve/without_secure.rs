//! A build without TLS: each connection is plain and speaks HTTP/1.1.

use ropewalk::Transport;

pub(super) fn is_secure(_transport: &Transport) -> bool {
    false
}

pub(super) fn speaks_http2(_transport: &Transport) -> bool {
    false
}
