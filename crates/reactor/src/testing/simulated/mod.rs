//! A whole network in memory, behind the same door as the kernel: an event provider with virtual time and a seed.
//!
//! ```text
//!   reactor -> Simulated --+
//!                          +--> SimulatedNetwork -> Network -> Connection <-> Pipe, Pipe
//!   a test ----------------+                        |  \--> Listener
//!                                                   +-----> Calendar, Names, Faults, Random
//! ```
//!
//! The same seed and the same calls give the same events, bytes and times. Time stands still except inside `wait`,
//! which jumps to whatever happens next.

mod attempts;
mod calendar;
mod connection;
mod faults;
mod listener;
mod names;
mod network;
mod pipe;
mod provider;
mod shared;
mod test_end;
#[cfg(test)]
mod tests;
mod traffic;

pub use faults::Faults;
pub(crate) use network::Network;
pub use provider::Simulated;
pub use shared::SimulatedNetwork;
pub(crate) use test_end::Record;
