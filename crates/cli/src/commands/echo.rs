//! Echo, RFC 862: sends back everything that it receives.

use std::time::Duration;

use ropewalk::{Error, Protocol, Transport};

use crate::idle::IdleTimer;

/// The protocol of one connection.
pub(super) struct Echo {
    idle_limit: Option<Duration>,
    idle: IdleTimer,
}

impl Echo {
    pub(super) fn new(idle_limit: Option<Duration>) -> Echo {
        Echo { idle_limit, idle: IdleTimer::default() }
    }
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.set_tcp_no_delay(true);
        // Apply back-pressure: stop reading from the peer while replies to it are still queued.
        let _ = transport.register_producer(transport.clone());
        self.idle = IdleTimer::closing(transport, self.idle_limit);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
        self.idle.touch();
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.unregister_producer();
        transport.lose_connection();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        tracing::info!(peer = %transport.peer(), %reason, "echo connection closed");
    }

    fn log_prefix(&self) -> &'static str {
        "echo"
    }
}
