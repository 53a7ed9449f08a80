//! Echo, RFC 862: sends back everything that it receives.

use std::borrow::Cow;
use std::time::Duration;

use ropewalk::protocols::paced;
use ropewalk::{Error, Factory, Protocol, Reactor, Transport};

use super::datagrams::Answers;
use crate::idle::IdleTimer;

/// Returns a factory of echoes that are paced: the peer is not read while replies to it are still queued.
pub(super) fn factory(idle_limit: Option<Duration>) -> impl Factory {
    paced(move || Echo { idle_limit, idle: IdleTimer::default() })
}

/// The protocol of one connection.
struct Echo {
    idle_limit: Option<Duration>,
    idle: IdleTimer,
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.set_tcp_no_delay(true);
        self.idle = IdleTimer::closing(transport, self.idle_limit);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
        self.idle.touch();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        tracing::info!(peer = %transport.peer(), %reason, "echo connection closed");
    }

    fn log_prefix(&self) -> &'static str {
        "echo"
    }
}

/// The answers to datagrams: the datagrams themselves.
pub(super) struct EchoDatagrams;

impl Answers for EchoDatagrams {
    fn answer<'a>(&'a mut self, _reactor: &Reactor, data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        Some(Cow::Borrowed(data))
    }

    fn log_prefix(&self) -> &'static str {
        "echo"
    }
}
