//! ropewalk: the Twisted reactor system in Rust.
//!
//! A [`Reactor`] is a single-threaded event loop over an event provider (epoll, poll, select, a simulated network). It
//! calls [`Protocol`]s when bytes arrive, and functions when time has passed:
//!
//! ```no_run
//! use ropewalk::prelude::*;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn connection_made(&mut self, transport: &Transport) {
//!         // Who is his own producer is read no faster than he reads: nobody can fill the memory.
//!         let _ = transport.register_producer(transport.clone());
//!     }
//!
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//! }
//!
//! fn main() -> ropewalk::Result<()> {
//!     let reactor = Reactor::new()?;
//!     reactor.listen_tcp("127.0.0.1:8000", || Echo)?;
//!     reactor.run()
//! }
//! ```
//!
//! Where to look: [`interfaces`] has the reactor's methods by interface, [`protocols`] what a user writes, [`transports`]
//! what he is given, [`endpoints`] places in words, [`application`] services, [`task`] futures on the loop, [`testing`] the
//! simulated network and virtual time.

#![forbid(unsafe_code)]

pub mod application;
#[cfg(doctest)]
pub mod book;
pub mod endpoints;
pub mod error;
pub mod interfaces;
mod jitter;
mod kernel;
pub mod protocols;
mod react;
pub mod task;
pub mod testing;
pub mod transports;

pub use bytes::Bytes;
pub use error::{Error, Result};
pub use interfaces::core::{Phase, RunOptions, TriggerId};
pub use interfaces::fd_set::Descriptor;
pub use interfaces::signals::SignalWatch;
pub use interfaces::tcp::{Binding, Destination};
pub use interfaces::threads::{ThreadHandle, ThreadPool};
pub use interfaces::time::DelayedCall;
pub use interfaces::unix::{UnixBinding, UnixDestination};
pub use kernel::{DetachedWait, Interface, PanicPolicy, Reactor, ReactorInfo, reactors};
pub use protocols::{ClientFactory, Factory, Protocol};
pub use react::{react, react_on};
/// What knows no system: Deferreds and their errors, framing, timer queues, the keys and outboxes of event providers.
pub use ropewalk_proto as proto;
pub use ropewalk_proto::{
    Address, Deferred, DeferredList, DeferredLock, DeferredQueue, DeferredSemaphore, Failure, Moment, Resolver, fail,
    gather_results, maybe_deferred, race, succeed,
};
/// The door for event providers of one's own: [`Reactor::with_provider`].
pub use ropewalk_sys as sys;
pub use transports::{Connector, ConnectorState, Port, Transport};

/// What most programs use.
pub mod prelude {
    pub use crate::error::Error;
    pub use crate::interfaces::core::Phase;
    pub use crate::kernel::Reactor;
    pub use crate::protocols::{ClientFactory, Factory, Protocol};
    pub use crate::task::AddTimeout;
    pub use crate::transports::{Connector, Port, Transport};
    pub use ropewalk_proto::{Address, Deferred, Failure};
}
