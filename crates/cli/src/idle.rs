//! Ending connections on which nothing moves. The reactor's own `IdleTimeout` gives a peer that does not take what is queued
//! another while, and counts what is written; here only what such a service calls a move counts, and such a peer is reset.

use std::time::Duration;

use ropewalk::{DelayedCall, Reactor, Transport};

/// Calls back when it was not touched for a while. Dropped, it never does.
#[derive(Default)]
pub(crate) struct IdleTimer(Option<(DelayedCall, Duration)>);

impl IdleTimer {
    /// Calls `expired` after `limit` without a touch; `None` is never.
    pub(crate) fn start(
        reactor: &Reactor,
        limit: Option<Duration>,
        expired: impl FnOnce(&Reactor) + 'static,
    ) -> IdleTimer {
        IdleTimer(limit.map(|limit| (reactor.call_later(limit, expired), limit)))
    }

    /// Ends the connection after `limit` without a touch.
    pub(crate) fn of(transport: &Transport, limit: Option<Duration>) -> IdleTimer {
        let weak = transport.downgrade();
        IdleTimer::start(&transport.reactor(), limit, move |_| {
            if let Some(transport) = weak.upgrade() {
                end(&transport);
            }
        })
    }

    /// Something moved.
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

/// Closes an idle connection; one whose peer does not even take what is queued is reset.
pub(crate) fn end(transport: &Transport) {
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

    /// Is its own producer, as an echo is, and sends more than a peer may want.
    struct Talks(usize, IdleTimer);

    impl Protocol for Talks {
        fn connection_made(&mut self, transport: &Transport) {
            let _ = transport.register_producer(transport.clone());
            self.1 = IdleTimer::of(transport, Some(MINUTE));
            transport.write(&vec![b'x'; self.0]);
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
            self.1.touch();
        }
    }

    #[test]
    fn a_silent_connection_is_closed_when_its_time_is_over() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Talks(0, IdleTimer::default())).unwrap();
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
    fn a_peer_that_does_not_take_what_is_queued_is_reset() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Talks(10_000_000, IdleTimer::default())).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.pause_reading();
        net.advance(MINUTE + Duration::from_millis(10));
        assert!(client.is_reset());
    }

    #[test]
    fn a_connection_that_ends_leaves_no_timer_behind() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", || Talks(0, IdleTimer::default())).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert_eq!(net.get_delayed_calls().len(), 1);
        client.abort();
        net.settle();
        assert!(net.get_delayed_calls().is_empty());
    }
}
