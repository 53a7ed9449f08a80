//! The samples of the book, compiled and run as documentation tests. A tidy test checks that every chapter is included.

#[doc = include_str!("../../../docs/src/adopted-sockets.md")]
pub struct AdoptedSockets;

#[doc = include_str!("../../../docs/src/applications.md")]
pub struct Applications;

#[doc = include_str!("../../../docs/src/async.md")]
pub struct Async;

#[doc = include_str!("../../../docs/src/choosing-a-reactor.md")]
pub struct ChoosingAReactor;

#[doc = include_str!("../../../docs/src/clients.md")]
pub struct Clients;

#[doc = include_str!("../../../docs/src/deferreds.md")]
pub struct Deferreds;

#[doc = include_str!("../../../docs/src/descriptors.md")]
pub struct Descriptors;

#[doc = include_str!("../../../docs/src/embedding.md")]
pub struct Embedding;

#[doc = include_str!("../../../docs/src/endpoints.md")]
pub struct Endpoints;

#[doc = include_str!("../../../docs/src/extending.md")]
pub struct Extending;

#[doc = include_str!("../../../docs/src/file-watching.md")]
pub struct FileWatching;

#[doc = include_str!("../../../docs/src/host-loops.md")]
pub struct HostLoops;

#[doc = include_str!("../../../docs/src/how-it-works.md")]
pub struct HowItWorks;

#[doc = include_str!("../../../docs/src/how-to-use-it.md")]
pub struct HowToUseIt;

#[doc = include_str!("../../../docs/src/logging.md")]
pub struct Logging;

#[doc = include_str!("../../../docs/src/processes.md")]
pub struct Processes;

#[doc = include_str!("../../../docs/src/scheduling.md")]
pub struct Scheduling;

#[doc = include_str!("../../../docs/src/serial-ports.md")]
pub struct SerialPorts;

#[doc = include_str!("../../../docs/src/servers.md")]
pub struct Servers;

#[doc = include_str!("../../../docs/src/signals.md")]
pub struct Signals;

#[doc = include_str!("../../../docs/src/testing.md")]
pub struct Testing;

#[cfg(feature = "tls")]
#[doc = include_str!("../../../docs/src/tls.md")]
pub struct Tls;

#[doc = include_str!("../../../docs/src/threads.md")]
pub struct Threads;

#[doc = include_str!("../../../docs/src/udp.md")]
pub struct Udp;

#[doc = include_str!("../../../docs/src/unix-sockets.md")]
pub struct UnixSockets;
