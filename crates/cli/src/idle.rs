//! Closes idle connections. Unlike the reactor's `IdleTimeout`, only the service itself restarts this timer. A peer
//! that does not accept the queued data is reset, without a second period.

use std::time::Duration;

use ropewalk::{DelayedCall, Reactor, Transport};

/// A timer that expires unless it is touched. Dropping it cancels it.
#[derive(Default)]
pub(crate) struct IdleTimer(Option<(DelayedCall, Duration)>);

impl IdleTimer {
    /// Calls `expired` once `limit` has passed without a touch. `None` means never.
    pub(crate) fn start(
        reactor: &Reactor,
        limit: Option<Duration>,
        expired: impl FnOnce(&Reactor) + 'static,
    ) -> IdleTimer {
        IdleTimer(limit.map(|limit| (reactor.call_later(limit, expired), limit)))
    }

    /// Closes the connection once `limit` has passed without a touch.
    pub(crate) fn closing(transport: &Transport, limit: Option<Duration>) -> IdleTimer {
        let weak = transport.downgrade();
        IdleTimer::start(&transport.reactor(), limit, move |_| {
            if let Some(transport) = weak.upgrade() {
                close(&transport);
            }
        })
    }

    /// Restarts the period, after activity.
    pub(crate) fn touch(&self) {
        if let Some((call, limit)) = &self.0 {
            let _ = call.reset(*limit);
        }
    }
}

impl Drop for IdleTimer {
    fn drop(&mut self) {
        if let Some((call, _)) = &self.0 {
            let _ = call.cancel();
        }
    }
}

/// Closes an idle connection. Resets the connection if the peer has not accepted the queued data.
pub(crate) fn close(transport: &Transport) {
    tracing::info!(peer = %transport.peer(), "closing an idle connection");
    if transport.buffered() > 0 {
        return transport.abort_connection();
    }
    transport.unregister_producer();
    transport.lose_connection();
}

#[cfg(test)]
mod tests {
    use ropewalk::Protocol;
    use ropewalk::testing::MemoryReactor;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Sends this number of bytes at the start.
    struct Sender(usize, IdleTimer);

    impl Protocol for Sender {
        fn connection_made(&mut self, transport: &Transport) {
            self.1 = IdleTimer::closing(transport, Some(MINUTE));
            transport.write(&vec![b'x'; self.0]);
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
            self.1.touch();
        }
    }

    #[test]
    fn a_silent_connection_is_closed_after_the_limit() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Sender(0, IdleTimer::default())).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.advance(MINUTE / 2);
        client.write(b"still here");
        net.advance(MINUTE - Duration::from_millis(1));
        assert!(!client.is_eof());
        net.advance(Duration::from_millis(2));
        assert!(client.is_eof() && !client.is_reset());
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_peer_that_does_not_read_is_reset() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Sender(10_000_000, IdleTimer::default())).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.pause_reading();
        net.advance(MINUTE + Duration::from_millis(10));
        assert!(client.is_reset());
    }

    #[test]
    fn a_lost_connection_cancels_its_timer() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Sender(0, IdleTimer::default())).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert_eq!(net.get_delayed_calls().len(), 1);
        client.abort();
        net.settle();
        assert!(net.get_delayed_calls().is_empty());
    }
}
