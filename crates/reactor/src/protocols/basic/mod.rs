//! Protocols that receive messages instead of bytes. The source is twisted.protocols.basic.
//!
//! [`LineReceiver`] wraps a [`LineProtocol`]. [`NetstringReceiver`], [`Int8StringReceiver`], [`Int16StringReceiver`]
//! and [`Int32StringReceiver`] wrap a [`StringProtocol`].
//!
//! All receivers limit the memory that a peer can make them use. If a message lies inside one received chunk, it is
//! delivered without a copy. While the transport is paused, no message is delivered.

mod line;
mod string;

pub use line::{LineProtocol, LineReceiver, LineTransport};
pub use string::{
    FramingError, Int8, Int8StringReceiver, Int16, Int16StringReceiver, Int32, Int32StringReceiver, Netstring,
    NetstringReceiver, StringFormat, StringProtocol, StringReceiver, StringTransport,
};
