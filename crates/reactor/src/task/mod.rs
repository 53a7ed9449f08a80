//! Futures on the loop: tasks that share the thread with protocols.

mod executor;
mod sleep;
mod stream;

pub(crate) use executor::Executor;
pub use sleep::Sleep;
pub use stream::{AsyncStream, StreamFactory};
