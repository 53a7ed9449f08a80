//! Protocols that take messages instead of bytes: twisted.protocols.basic.
//!
//! [`LineReceiver`] wraps a [`LineProtocol`]; [`NetstringReceiver`], [`Int8StringReceiver`], [`Int16StringReceiver`] and
//! [`Int32StringReceiver`] wrap a [`StringProtocol`]. All bound what a peer can have them hold, deliver what lies inside
//! one received chunk without a copy, and stop between two messages while the transport is paused.

mod line;
mod string;

pub use line::{LineProtocol, LineReceiver, LineTransport};
pub use string::{
    FramingError, Int8, Int8StringReceiver, Int16, Int16StringReceiver, Int32, Int32StringReceiver, Netstring,
    NetstringReceiver, StringFormat, StringProtocol, StringReceiver, StringTransport,
};
