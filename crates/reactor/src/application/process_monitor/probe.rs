//! Connects to an endpoint until it accepts.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Deferred;

use crate::endpoints::StreamClientEndpoint;
use crate::kernel::Reactor;
use crate::protocols::Protocol;
use crate::transports::Transport;

/// The time between two attempts.
const INTERVAL: Duration = Duration::from_millis(100);

/// The protocol of a connection that is closed at once.
struct Probe;

impl Protocol for Probe {
    fn connection_made(&mut self, transport: &Transport) {
        transport.lose_connection();
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// Returns a Deferred that fires when `endpoint` has accepted a connection. Cancelling it stops the attempts.
pub(super) fn until_accepted(reactor: &Reactor, endpoint: Rc<dyn StreamClientEndpoint>) -> Deferred<()> {
    let weak = reactor.downgrade();
    reactor.spawn(async move {
        while let Some(reactor) = weak.upgrade() {
            let attempt = endpoint.connect(&reactor, Rc::new(|| Probe));
            if attempt.await.is_ok() {
                return;
            }
            let pause = reactor.defer_later(INTERVAL, |_| ());
            drop(reactor);
            if pause.await.is_err() {
                return;
            }
        }
    })
}
