//! Connections and ports, as protocols and programs see them.
//!
//! An event from the provider goes to a `Stream`, which calls its protocol. The bytes that the protocol writes go to
//! the outbox. When the callback has returned, `settle` hands the outbox to the provider.

mod attempts;
mod broken;
mod closing;
mod connect_hook;
mod connector;
mod datagrams;
mod descriptors;
mod ending;
mod factory_users;
mod flags;
mod hold;
mod inbound;
mod keys;
mod layered;
mod layering;
mod lingering;
mod lookups;
mod observer;
mod observing;
mod options;
mod outbound;
mod pacing;
mod pipes;
mod port;
mod process;
mod producer;
mod protocol_slot;
mod receiving;
mod release;
mod rest;
mod settle;
mod share;
mod slot;
mod stream;
mod transport;
mod unread;
mod when_lost;
mod writing;

pub(crate) use connector::{ATTEMPT_DELAY, ConnectorInner, Prepared, Target};
pub use connector::{Connector, ConnectorState, WeakConnector};
pub(crate) use datagrams::Opened;
pub use datagrams::{Datagram, DatagramCounters, DatagramPort, Datagrams, NetworkInterface};
pub use hold::Hold;
pub(crate) use keys::Keys;
pub use lingering::Linger;
pub(crate) use lookups::HostName;
pub use observer::Observer;
pub use port::Port;
pub use process::{Process, TERMINAL};
pub use producer::{Producer, PullProducer, PushProducer};
pub use ropewalk_sys::Released;
pub(crate) use stream::{Origin, Settings, Stream};
pub use transport::{Transport, WeakTransport};
