//! Daytime, RFC 867: sends one line with the date and time in UTC.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use ropewalk::{Protocol, Reactor, Transport};

use super::datagrams::Answers;
use crate::idle::IdleTimer;

/// The time that the peer has to close its side.
const GRACE: Duration = Duration::from_secs(5);

fn line(reactor: &Reactor) -> String {
    let now = UNIX_EPOCH + Duration::from_secs_f64(reactor.seconds());
    format!("{}\r\n", httpdate::fmt_http_date(now))
}

/// The protocol of one connection.
#[derive(Default)]
pub(super) struct Daytime {
    grace: IdleTimer,
}

impl Protocol for Daytime {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(line(&transport.reactor()).as_bytes());
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

/// The answers to datagrams: the line with the date and time.
pub(super) struct DaytimeDatagrams;

impl Answers for DaytimeDatagrams {
    fn answer<'a>(&'a mut self, reactor: &Reactor, _data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        Some(Cow::Owned(line(reactor).into_bytes()))
    }

    fn log_prefix(&self) -> &'static str {
        "daytime"
    }
}
