//! Discard, RFC 863: reads everything and sends nothing.

use std::borrow::Cow;
use std::time::Duration;

use ropewalk::{Error, Protocol, Reactor, Transport};

use super::datagrams::Answers;
use crate::idle::IdleTimer;

/// The protocol of one connection.
pub(super) struct Discard {
    idle_limit: Option<Duration>,
    idle: IdleTimer,
    received: u64,
}

impl Discard {
    pub(super) fn new(idle_limit: Option<Duration>) -> Discard {
        Discard { idle_limit, idle: IdleTimer::default(), received: 0 }
    }
}

impl Protocol for Discard {
    fn connection_made(&mut self, transport: &Transport) {
        self.idle = IdleTimer::closing(transport, self.idle_limit);
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.received += data.len() as u64;
        self.idle.touch();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        tracing::info!(peer = %transport.peer(), bytes = self.received, %reason, "discard connection closed");
    }

    fn log_prefix(&self) -> &'static str {
        "discard"
    }
}

/// No answer to any datagram.
pub(super) struct DiscardDatagrams;

impl Answers for DiscardDatagrams {
    fn answer<'a>(&'a mut self, _reactor: &Reactor, _data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        None
    }

    fn log_prefix(&self) -> &'static str {
        "discard"
    }
}
