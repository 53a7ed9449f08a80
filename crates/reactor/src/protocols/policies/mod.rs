//! Policies: factories that limit the connections of another factory. The source is twisted.protocols.policies.
//!
//! Policies can wrap each other: `TimeoutFactory::new(LimitTotalConnectionsFactory::new(factory, 100), minute)`. A
//! policy also applies after the connection has switched to another protocol, except for a [`ProtocolWrapper`].

mod begun;
mod limits;
mod throttling;
mod timeout;
mod traffic;
mod wrapping;

pub use begun::on_connection;
pub use limits::{LimitConnectionsByPeer, LimitTotalConnectionsFactory};
pub use throttling::ThrottlingFactory;
pub use timeout::{IdleTimeout, TimeoutFactory};
pub use traffic::{Traffic, TrafficLoggingFactory};
pub use wrapping::{ProtocolWrapper, WrappingFactory};

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::protocols::Protocol;
    use crate::testing::{Faults, MemoryReactor};
    use crate::transports::Transport;

    /// Counts the bytes that came as slices, and as chunks.
    struct Counter(Rc<Cell<(usize, usize)>>);

    impl Protocol for Counter {
        fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
            let (copied, lent) = self.0.get();
            self.0.set((copied + data.len(), lent));
        }

        fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
            let (copied, lent) = self.0.get();
            self.0.set((copied, lent + chunk.len()));
        }
    }

    #[test]
    fn lent_chunks_pass_all_policies_without_a_copy() {
        let net = MemoryReactor::seeded(1).with_faults(Faults::none().short_reads().lent_reads());
        let received = Rc::new(Cell::default());
        let count = received.clone();
        let limited = LimitTotalConnectionsFactory::new(move || Counter(count.clone()), 10);
        let minute = Duration::from_secs(60);
        let policies = TimeoutFactory::new(ThrottlingFactory::new(LimitConnectionsByPeer::new(limited, 10)), minute);
        net.listen_tcp("10.0.0.1:80", policies).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[1; 5000]);
        net.advance(Duration::from_secs(1));
        let (copied, lent) = received.get();
        assert!(lent > 0 && copied + lent == 5000, "{copied} copied, {lent} lent");
    }
}
