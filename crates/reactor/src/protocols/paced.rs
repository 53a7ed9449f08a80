//! Factories whose connections are paced.

use ropewalk_proto::Address;

use super::forward::{forward_client_factory, forward_factory};
use super::{ClientFactory, Factory, Protocol};
use crate::error::Error;
use crate::transports::Connector;

/// Paces the connections of `factory`: a connection is read only while at most the high-water mark is queued towards
/// its peer.
///
/// Use this function for a server that answers requests. Without pacing, a peer that sends without reading could fill
/// the memory. [`Transport::set_paced`](crate::Transport::set_paced) describes when two paced ends wait for each other.
///
/// The result is a factory: use it with ports, connectors, endpoints and policies. It may wrap a policy, and a policy
/// may wrap it.
///
/// May be called from any callback.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::testing::MemoryReactor;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:7", paced(|| Echo))?;
/// let client = net.connect_stream("10.0.0.1:7");
/// client.pause_reading(); // the client sends without reading
/// client.write(&[0; 1_000_000]);
/// net.settle();
/// client.resume_reading();
/// net.settle();
/// assert_eq!(client.received().len(), 1_000_000);
/// # Ok::<(), Error>(())
/// ```
#[must_use]
pub fn paced<F: Factory>(factory: F) -> Paced<F> {
    Paced { factory }
}

/// A factory whose connections are paced, made by [`paced`].
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::Paced;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = net.listen_stream("10.0.0.1:80")?;
/// let client = AccumulatingProtocol::new();
/// let factory: Paced<_> = paced(client.factory());
/// net.connect_tcp("10.0.0.1:80", factory)?;
/// net.settle();
/// assert!(client.transport().is_some_and(|transport| transport.is_paced()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Paced<F> {
    factory: F,
}

impl<F: Factory> Factory for Paced<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    fn is_paced(&self) -> bool {
        true
    }

    forward_factory!(but is_paced);
}

forward_client_factory!(Paced);
