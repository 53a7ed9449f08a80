//! A whole network in memory: the fake kernel behind the event provider [`Simulated`].
//!
//! ```text
//!   reactor -> Simulated ----+                           Flights -> DatagramEnd
//!                            |                              |
//!                            +--> SharedNetwork -> Network -> Connection <-> Pipe, Pipe
//!   TestStream -> TestEnds --+                     |  |  \--> Listener
//!                                                  |  +-----> Machines -> Names
//!                                                  +--------> Calendar, Links, HostNames, Faults, Random
//!                                                  +--------> Children -> Child, File
//! ```
//!
//! Each source has an owner: a provider, or the test ends. The network treats all owners alike.
//!
//! The same seed and the same calls give the same events, bytes and times. Time moves only inside a wait, and in the
//! steps of the driver, [`SimulatedNetwork`](super::SimulatedNetwork).

mod attempts;
mod calendar;
mod carrier;
mod child_calls;
mod children;
mod connection;
mod datagram_end;
mod datagrams;
mod faults;
mod flights;
mod host_names;
mod links;
mod listener;
mod losses;
mod machines;
mod names;
mod network;
mod pipe;
mod process;
mod provider;
mod shared;
mod skew;
mod test_ends;
#[cfg(test)]
mod tests;
mod traffic;

pub(crate) use children::{ChildEvent, ChildId};
pub use faults::Faults;
pub(crate) use machines::{MachineId, OUTSIDE};
pub(crate) use network::{Failures, Log, Network};
pub use provider::Simulated;
pub(crate) use shared::SharedNetwork;
pub use skew::Skew;
pub(crate) use test_ends::TestEnd;
