//! Daytime, RFC 867: a line with the date and the time, in UTC.

use std::time::{Duration, UNIX_EPOCH};

use ropewalk::{Protocol, Transport};

use crate::idle::IdleTimer;

/// How long the peer may take to close, too.
const GRACE: Duration = Duration::from_secs(5);

/// One connection.
#[derive(Default)]
pub(super) struct Daytime {
    grace: IdleTimer,
}

impl Protocol for Daytime {
    fn connection_made(&mut self, transport: &Transport) {
        let now = UNIX_EPOCH + Duration::from_secs_f64(transport.reactor().seconds());
        transport.write(format!("{}\r\n", httpdate::fmt_http_date(now)).as_bytes());
        // Closing with input unread would reset the connection, and the line could be lost on its way.
        transport.lose_write_connection();
        self.grace = IdleTimer::of(transport, Some(GRACE));
    }

    /// Thrown away, as the RFC wants.
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn log_prefix(&self) -> &'static str {
        "daytime"
    }
}
