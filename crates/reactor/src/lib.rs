//! ropewalk: the Twisted reactor system in Rust.
//!
//! ropewalk is for network services and protocols that run in one thread. A [`Reactor`] is an event loop. It calls your
//! [`Protocol`] when bytes arrive, and your functions when a delay has passed. Futures run on the same loop as tasks. No
//! type has to be `Send`. You need not know Twisted to use it.
//!
//! This is a complete echo server:
//!
//! ```no_run
//! use ropewalk::prelude::*;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//! }
//!
//! fn main() -> ropewalk::Result<()> {
//!     let reactor = Reactor::new()?;
//! // `paced` applies back-pressure: it stops reading from a peer that does not read its echo.
//!     reactor.listen_tcp("127.0.0.1:8000", paced(|| Echo))?;
//!     reactor.run()
//! }
//! ```
//!
//! # Why
//!
//! - A whole service runs under test on a [simulated network](testing) with virtual time. The same seed replays the
//!   same order of events and the same faults.
//! - The same program runs on any event provider: select, poll, epoll or io_uring. One suite of specifications tests all
//!   of them.
//! - The loop can live [inside another loop](Reactor::prepare), such as that of a toolkit or another runtime.
//! - Twisted's concepts are here under their names, with their semantics: protocols, factories, transports, Deferreds,
//!   delayed calls, triggers, endpoints and services.
//!
//! # Event providers
//!
//! [`Reactor::new`] chooses the first provider that works. [`Reactor::with`] and the environment variable
//! `ROPEWALK_REACTOR` choose a provider by name.
//!
//! | name | made for | system |
//! |---|---|---|
//! | `epoll` | any number of connections | Linux and Android |
//! | `poll` | a few hundred connections | Unix |
//! | `select` | descriptors below 1024 | Unix |
//! | `uring` | many busy connections | Linux 6.1 and later |
//! | `simulated` | tests, by [`MemoryReactor`](testing::MemoryReactor) | everywhere |
//! | custom | implementations of [`EventProvider`](sys::EventProvider), by [`Reactor::with_provider`] | everywhere |
//!
//! # Features
//!
//! No feature is enabled by default.
//!
//! | feature | effect |
//! |---|---|
//! | `futures-io` | implements `AsyncRead` and `AsyncWrite` for [`AsyncStream`](task::AsyncStream) |
//! | `hickory` | looks host names up by way of name servers: `names::DnsResolver` |
//! | `hyper` | implements hyper's runtime traits for streams, timers and tasks |
//! | `tls` | TLS on every stream: `tls`, `Reactor::listen_tls`, `Reactor::connect_tls`, `Transport::start_tls` |
//! | `tls-seeded` | makes the handshakes of a simulated network follow from its seed, for tests |
//!
//! # Modules
//!
//! | module | content |
//! |---|---|
//! | [`hosting`] | the reactor as a guest of another loop |
//! | [`interfaces`] | the methods of [`Reactor`], by interface |
//! | [`files`] | changes of files and directories |
//! | [`processes`] | child processes: commands, their pipes and their end |
//! | [`protocols`] | the traits that you implement, and protocols for lines and length-prefixed strings |
//! | [`transports`] | the connections that your protocols get, and ports and connectors |
//! | [`endpoints`] | places to listen at or connect to, also from descriptions such as `tcp:80` |
//! | `names` | host names by way of name servers, with the feature `hickory` |
//! | [`application`] | services that start and stop together |
//! | [`task`] | futures on the loop, repeated calls, channels, timeouts |
//! | [`testing`] | the simulated network and virtual time |

#![forbid(unsafe_code)]

pub mod application;
#[cfg(doctest)]
pub mod book;
pub mod endpoints;
pub mod error;
pub mod files;
pub mod hosting;
pub mod interfaces;
mod kernel;
#[cfg(feature = "hickory")]
pub mod names;
pub mod processes;
pub mod protocols;
mod react;
pub mod task;
pub mod testing;
pub mod transports;

pub use bytes::Bytes;
pub use error::{Error, Result};
pub use interfaces::Interface;
pub use interfaces::core::{Phase, RunOptions, TriggerId};
pub use interfaces::fd_set::Descriptor;
pub use interfaces::serial_ports::SerialPort;
pub use interfaces::signals::SignalWatch;
pub use interfaces::tcp::{Binding, Destination};
pub use interfaces::thread_pool::{ThreadPool, ThreadPoolCounts};
pub use interfaces::threads::ThreadHandle;
pub use interfaces::time::DelayedCall;
pub use interfaces::udp::{DatagramOptions, UdpBinding};
pub use interfaces::unix::{UnixBinding, UnixDestination};
pub use interfaces::unix_datagram::{UnixDatagramBinding, UnixDatagramDestination};
pub use kernel::{
    Budget, Callback, CallbackKind, DetachedWait, EnterGuard, PanicPolicy, Reactor, ReactorInfo, WeakReactor, reactors,
};
pub use protocols::{ClientFactory, DatagramProtocol, Factory, Protocol};
pub use react::{react, react_on};
/// The system-independent parts: Deferreds and their errors, framing, timer queues, keys and outboxes.
pub use ropewalk_proto as proto;
/// The settings and the lines of [serial ports](Reactor::open_serial_port).
pub use ropewalk_proto::serial;
pub use ropewalk_proto::{
    Address, DEFAULT_BACKLOG, Deferred, DeferredError, DeferredList, DeferredLock, DeferredQueue, DeferredSemaphore,
    Failure, Moment, Resolver, fail, gather_results, maybe_deferred, race, succeed,
};
/// The interface of event providers, for custom ones: see [`Reactor::with_provider`].
pub use ropewalk_sys as sys;
/// TLS for servers and clients: certificates, authorities, options.
#[cfg(feature = "tls")]
pub use ropewalk_tls as tls;
pub use transports::{Connector, ConnectorState, Datagram, DatagramPort, Datagrams, Port, Transport};

/// The names that most programs use.
pub mod prelude {
    pub use crate::error::Error;
    pub use crate::interfaces::core::Phase;
    pub use crate::kernel::Reactor;
    pub use crate::protocols::{ClientFactory, Factory, Protocol, paced};
    pub use crate::task::AddTimeout;
    pub use crate::transports::{Connector, Port, Transport};
    pub use ropewalk_proto::{Address, Deferred, Failure};
}
