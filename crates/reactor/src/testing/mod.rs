//! Tests without sockets, sleeps or luck: the reactor on a simulated network, with virtual time and a seed.
//!
//! | to test | use |
//! |---|---|
//! | a program's part that listens or connects | [`MemoryReactor`], with [`TestStream`] and [`TestListener`] as the other ends |
//! | something that only schedules calls | [`Clock`] |
//! | one protocol alone | [`StringTransport`] |
//! | what a protocol would be told | [`AccumulatingProtocol`] |
//! | an event loop of your own | [`Simulated`], the event provider, and [`SimulatedNetwork`] to control it by |
//!
//! [`Faults`] says how unkind the network is, and [`Random`] helps tests to be random and still replay.

mod accumulating_protocol;
mod clock;
mod host;
#[cfg(test)]
mod levels;
mod memory_reactor;
mod memory_resolver;
mod simulated;
mod simulated_network;
mod string_transport;
mod test_stream;

pub use accumulating_protocol::AccumulatingProtocol;
pub use clock::Clock;
pub use host::Host;
#[cfg(test)]
pub(crate) use levels::levels_logged;
pub use memory_reactor::MemoryReactor;
pub use ropewalk_proto::Random;
pub use simulated::{Faults, Simulated, Skew};
pub use simulated_network::SimulatedNetwork;
pub use string_transport::{ProducerState, StringTransport};
pub use test_stream::{TestListener, TestStream};
