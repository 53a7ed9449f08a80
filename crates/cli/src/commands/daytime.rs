//! Daytime, RFC 867: sends one line with the date and time in UTC.

use std::time::{Duration, UNIX_EPOCH};

use ropewalk::{Protocol, Transport};

use crate::idle::IdleTimer;

/// The time that the peer has to close its side.
const GRACE: Duration = Duration::from_secs(5);

/// The protocol of one connection.
#[derive(Default)]
pub(super) struct Daytime {
    grace: IdleTimer,
}

impl Protocol for Daytime {
    fn connection_made(&mut self, transport: &Transport) {
        let now = UNIX_EPOCH + Duration::from_secs_f64(transport.reactor().seconds());
        transport.write(format!("{}\r\n", httpdate::fmt_http_date(now)).as_bytes());
        // Closing with unread input would reset the connection, and the line could be lost in flight.
        transport.lose_write_connection();
        self.grace = IdleTimer::closing(transport, Some(GRACE));
    }

    /// Ignores input, as the RFC demands.
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn log_prefix(&self) -> &'static str {
        "daytime"
    }
}
