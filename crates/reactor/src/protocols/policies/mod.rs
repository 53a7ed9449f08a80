//! Policies: factories that limit what the connections of another factory may do. twisted.protocols.policies.
//!
//! They wrap each other: `TimeoutFactory::new(LimitTotalConnectionsFactory::new(factory, 100), minute)`. A policy stays
//! with a connection whose protocol is switched.

mod limits;
mod observed;
mod throttling;
mod timeout;

pub use limits::{LimitConnectionsByPeer, LimitTotalConnectionsFactory};
pub use throttling::ThrottlingFactory;
pub use timeout::{IdleTimeout, TimeoutFactory};

/// Hands on what a factory that wraps another has no part in.
macro_rules! forward_factory {
    () => {
        fn start_factory(&self) {
            self.factory.start_factory();
        }

        fn stop_factory(&self) {
            self.factory.stop_factory();
        }

        fn accept_failed(&self, reason: &Error) {
            self.factory.accept_failed(reason);
        }
    };
}

macro_rules! forward_client_factory {
    ($wrapper:ident) => {
        impl<F: ClientFactory> ClientFactory for $wrapper<F> {
            fn started_connecting(&self, connector: &Connector) {
                self.factory.started_connecting(connector);
            }

            fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
                self.factory.client_connection_failed(connector, reason);
            }

            fn client_connection_lost(&self, connector: &Connector, reason: &Error) {
                self.factory.client_connection_lost(connector, reason);
            }
        }
    };
}

use {forward_client_factory, forward_factory};
