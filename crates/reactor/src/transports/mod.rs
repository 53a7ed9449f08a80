//! Connections and ports as protocols and programs see them.
//!
//! Data flows one way: a provider's event comes to a `Stream`, which calls its protocol; what that writes goes to the
//! outbox, and settling hands the outbox to the provider.

mod connector;
mod factory_users;
mod flags;
mod layered;
mod lingering;
mod lookups;
mod observer;
mod pacing;
mod port;
mod producer;
mod settle;
mod share;
mod stream;
mod transport;
mod unread;
mod writing;

pub use connector::{Connector, ConnectorState, WeakConnector};
pub(crate) use connector::{ConnectorInner, Target};
pub use lingering::Linger;
pub use observer::{Hold, Observer};
pub use port::Port;
pub use producer::{Producer, PullProducer, PushProducer};
pub(crate) use stream::Stream;
pub use transport::{Transport, WeakTransport};
