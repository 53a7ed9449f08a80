//! Datagram ports.
//!
//! ```text
//!   provider -> receiving -> Datagrams -> protocol          at most 16 in one callback
//!   provider <- sending   <- Cork      <- port.write_to     when the callback has returned
//!   provider <- sending   <-------------- port.send         at once
//! ```

mod arrived;
mod buffers;
mod cork;
mod counters;
mod groups;
mod handle;
mod notices;
mod options;
mod pace;
mod port;
mod receiving;
mod sending;

pub use arrived::{Datagram, Datagrams};
pub use counters::DatagramCounters;
pub use groups::NetworkInterface;
pub use handle::DatagramPort;
pub(crate) use port::Opened;
