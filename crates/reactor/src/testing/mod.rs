//! Tests without sockets, sleeps or luck: the reactor on a simulated network, with virtual time and a seed.
//!
//! [`Simulated`] is the event provider, [`SimulatedNetwork`] what a test controls it by, [`Faults`] how unkind it is.

mod simulated;
mod test_stream;

pub use simulated::{Faults, Random, Simulated, SimulatedNetwork};
pub use test_stream::{TestListener, TestStream};
