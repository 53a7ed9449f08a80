//! Tests without sockets and sleeps: the reactor on a simulated network, with virtual time and a seed.
//!
//! | to test | use |
//! |---|---|
//! | a part of a program that listens or connects | [`MemoryReactor`], with [`TestStream`] and [`TestListener`] as the other ends |
//! | several programs, and the network between them | [`SimulatedNetwork`], with a [`Host`] for each |
//! | a part of a program that starts children | [`MemoryReactor`], with a [`Program`] for each |
//! | code that only schedules calls | [`Clock`] |
//! | one protocol alone | [`StringTransport`] |
//! | the calls that a protocol receives | [`AccumulatingProtocol`] |
//! | a custom event loop | [`Simulated`], the event provider |
//!
//! [`Faults`] add delays and failures to the network. [`Random`] draws random numbers that a seed replays.

mod accumulating_protocol;
mod clock;
mod connect_request;
#[cfg(test)]
mod connected;
mod host;
#[cfg(test)]
mod levels;
mod memory_reactor;
mod program;
mod programs;
mod simulated;
mod simulated_child;
mod simulated_network;
mod string_transport;
mod test_datagrams;
mod test_stream;

pub use accumulating_protocol::AccumulatingProtocol;
pub use clock::Clock;
pub use connect_request::ConnectRequest;
#[cfg(test)]
pub(crate) use connected::connected;
pub use host::Host;
#[cfg(test)]
pub(crate) use levels::levels_logged;
pub use memory_reactor::MemoryReactor;
pub use program::{Program, Script};
pub use programs::Programs;
pub use ropewalk_proto::Random;
pub use simulated::{Faults, Simulated, Skew};
pub use simulated_child::SimulatedChild;
pub use simulated_network::SimulatedNetwork;
pub use string_transport::{ProducerState, StringTransport};
pub use test_datagrams::TestDatagrams;
pub use test_stream::{TestListener, TestStream};
