//! Waiting until a device has sent what the system has taken, without blocking in the close of the device.

use std::time::Duration;

use ropewalk_proto::{Deferred, Moment, Resolver};

use crate::kernel::Reactor;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// The time after which a device that sends nothing is given up: its flow control stops it.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Fires when `unsent` is 0, or has not changed for [`SILENCE_MAX`].
pub(super) fn drain(reactor: &Reactor, unsent: impl Fn() -> usize + 'static) -> Deferred<()> {
    let (deferred, resolver) = Deferred::new();
    Drain { unsent, left: 0, since: reactor.now(), resolver }.look(reactor);
    deferred
}

struct Drain<F> {
    unsent: F,
    /// The number of bytes that were left when the device was last seen to send.
    left: usize,
    since: Moment,
    resolver: Resolver<()>,
}

impl<F: Fn() -> usize + 'static> Drain<F> {
    fn look(mut self, reactor: &Reactor) {
        let left = (self.unsent)();
        if left != self.left {
            self.left = left;
            self.since = reactor.now();
        }
        let is_silent = reactor.now() - self.since >= SILENCE_MAX;
        if left > 0 && !is_silent {
            reactor.call_later(INTERVAL, move |reactor| self.look(reactor));
            return;
        }
        if left > 0 {
            tracing::warn!(bytes = left, "discarding bytes that a serial device does not send");
        }
        // The receiver may have given up waiting.
        let _ = self.resolver.callback(());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::MemoryReactor;

    /// A device that sends a byte each second of virtual time, until it stops.
    struct Slow {
        unsent: Rc<Cell<usize>>,
        drained: Deferred<()>,
    }

    fn slow(net: &MemoryReactor, bytes: usize, stops_at: usize) -> Slow {
        let unsent = Rc::new(Cell::new(bytes));
        let (asked, sending) = (unsent.clone(), unsent.clone());
        for second in 1..=bytes - stops_at {
            let sending = sending.clone();
            net.call_later(Duration::from_secs(second as u64), move |_| sending.set(sending.get() - 1));
        }
        Slow { unsent, drained: drain(net, move || asked.get()) }
    }

    #[test]
    fn a_slow_device_is_given_all_the_time_that_it_needs() {
        let net = MemoryReactor::new();
        let device = slow(&net, 30, 0);
        net.advance(Duration::from_millis(29_900));
        assert!(!device.drained.is_done() && device.unsent.get() == 1);
        net.advance(Duration::from_millis(200));
        assert!(device.drained.is_done());
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_device_that_stops_sending_is_given_up() {
        let net = MemoryReactor::new();
        let device = slow(&net, 10, 7);
        net.advance(Duration::from_millis(4_900));
        assert!(!device.drained.is_done());
        net.advance(Duration::from_millis(200));
        assert!(device.drained.is_done() && device.unsent.get() == 7);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_device_with_nothing_to_send_is_drained_at_once() {
        assert!(drain(&MemoryReactor::new(), || 0).is_done());
    }
}
