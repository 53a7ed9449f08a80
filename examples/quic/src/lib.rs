//! QUIC on a datagram port: quinn-proto, which is the QUIC protocol without I/O, driven by a reactor.
//!
//! ```text
//!   the reactor                     this crate                     quinn-proto                    the program
//!
//!   datagrams_received  --> each datagram of the batch --> Endpoint::handle
//!                                                          Connection::handle_event   \
//!   a delayed call      --> connections that are due   --> Connection::handle_timeout   poll --> Application::event
//!   ready_to_send       --> the datagrams that are left                               /               |
//!                                                                                                     |
//!   DatagramPort::send  <-- trains of equal length     <-- Connection::poll_transmit <----------------+
//!   DelayedCall::reset  <-- the earliest deadline      <-- Connection::poll_timeout
//! ```
//!
//! A [`Quic`] is a datagram port with any number of connections, of clients, of a server, or both. There is one delayed
//! call for all connections. Connections are driven once for each batch of datagrams, not once for each datagram.
//!
//! The port has [details](ropewalk::UdpBinding::details): a server on a wildcard address answers from the address that
//! the client has asked, and congestion marks (ECN) pass in both directions. It probes the MTU of each path. Time comes
//! from the reactor alone, so that a connection on a simulated network lives in virtual time.
//!
//! The crate shows that a datagram port has everything that QUIC needs. It is not a complete QUIC library: it has no
//! limits for connections that have not proved their address, and applications speak to quinn-proto's own types.

mod deadlines;
mod driver;
pub mod identity;
mod sender;
mod service;

pub use driver::Quic;
pub use quinn_proto;
pub use service::{Application, Service};
