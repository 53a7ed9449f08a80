//! Ending connections on which nothing moves. The reactor's own `IdleTimeout` waits for a producer to unregister; here one
//! that is a connection, or never ends, is unregistered.

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
