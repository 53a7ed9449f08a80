//! The seam: everything that the operating system does for the loop, as traits.
//!
//! A real kernel, a decorator and a simulated network implement the same traits, so the code above them is the same in
//! production and in tests. The seam is made of operations on transports. It is not made of readiness, because a
//! provider that completes operations would then have to emulate epoll.
//!
//! ```text
//!   EventProvider        time, waking, waiting                                  every provider
//!     streams()          listen, connect, accept, receive, send, close          TCP and UNIX sockets
//!     sockets()          addresses, options, the system's socket                questions about a key
//!     adoption()         adopt, connect_socket, release                         sockets from outside, or given up
//!     pipes()            adopt_pipe                                             pipes, terminals and files
//!     descriptor_passing()                                                      descriptors over UNIX connections
//!                        send_with_descriptors, receive_with_descriptors
//!     processes()        spawn, exit_status, signal                             child processes and their pipes
//!     datagrams()        open_datagrams, receive_datagrams, send_datagrams      UDP and UNIX datagrams
//!     watches()          watch, set_interest, unwatch                           descriptors that their owner reads
//!     filesystem()       locks                                                  paths of UNIX sockets
//! ```
//!
//! A provider returns `None` for a kind that it does not have. A new kind takes eight steps. The first four make it a
//! part of the seam:
//!
//! 1. a file here with its trait. The trait has no default methods, so a provider that implements it cannot miss one.
//! 2. a method of [`EventProvider`] whose default returns `None`, as `watches` has.
//! 3. the same method in the list of [`ProviderDecorator`], or decorated providers would lose the kind.
//! 4. a flag in [`Capabilities`], set in `Capabilities::of` when the provider has the kind.
//! 5. the system calls, once for all descriptors, in `socket/`. The providers differ only in how they keep a socket
//!    under a key, so a private trait for that is enough to implement the kind, as `KeepsDatagrams` is for
//!    [`Datagrams`]. Both families of providers implement that trait and return the kind. A socket that only waits for
//!    arrivals is a port to both: `Registration::port`, `Slot::port`.
//! 6. a variant of `Interface` in the reactor's `interfaces/mod.rs`, and a file beside it. `fd_set.rs` is the shortest
//!    model. The reactor's kernel lists the trait's methods in `provider_calls.rs`, and the kind in `provider_slot.rs`.
//! 7. for the simulated network, in the reactor's `testing/simulated/`: a file for the kind, a variant of `Source` in
//!    `network.rs`, a variant of `Happening` in `calendar.rs` for messages under way, bound addresses in `names.rs`,
//!    and the method in `provider.rs`. The compiler finds the other places.
//! 8. specifications in `conformance/src/specs/`, named in `conformance/tests/providers.rs`.
//!
//! A kind with a decorator, such as [`WatchesDecorator`], cannot be implemented through a private trait, because both
//! implementations would be for all types. Each provider then implements it in a file of its own, as in `watches.rs`.
//!
//! Order of calls: `listen`, `connect`, `adopt`, `adopt_pipe`, `open_datagrams` or `watch` returns a
//! [`Key`](ropewalk_proto::Key). `wait` reports events under keys. The owner of a key answers with `accept`,
//! `finish_connect`, `receive` or `send`. `close`, `abort` or `unwatch` retires the key, at any time after it was
//! returned. A retired key is stale: calls with it return `NotFound` or do nothing.

mod adoption;
mod datagrams;
mod decorator;
mod descriptor_passing;
mod event;
mod filesystem;
mod pipes;
mod processes;
mod provider;
mod sockets;
mod spawn_error;
mod spawn_plan;
mod streams;
mod watches;

pub use adoption::{Adoption, Kind, Released};
pub use datagrams::{Arrival, DEFAULT_PACKET_SIZE, DatagramOption, DatagramSpec, Datagrams, FamilyError, Outgoing};
pub use decorator::{ProviderDecorator, StreamsDecorator, WatchesDecorator};
pub use descriptor_passing::{DescriptorPassing, DescriptorQueue, PassedDescriptors};
pub use event::{EVENTS_PER_WAIT, Event, Events, Interest, Ready};
pub use filesystem::Filesystem;
pub use pipes::{PipeEnd, Pipes, Sharing};
pub use processes::{ChildPipe, ExitStatus, Processes, Recipient, Spawned};
pub use provider::{Capabilities, Clock, EventProvider, Names, StreamCalls};
pub use sockets::{KeepAliveTimes, PeerCredentials, SocketOption, Sockets};
pub use spawn_error::{SpawnError, SpawnStep};
pub use spawn_plan::{ChildDescriptor, ProcessGroup, Resource, SpawnPlan, WindowSize};
pub use streams::{BindError, ConnectSpec, ListenSpec, Received, Sent, Streams};
pub use watches::Watches;
