//! Futures on the loop: tasks that share the thread with protocols.

mod cooperator;
mod defer_later;
mod executor;
mod filesystem_lock;
#[cfg(feature = "hyper")]
pub mod hyper;
mod looping_call;
mod sleep;
mod stream;
#[cfg(feature = "hyper")]
mod thread_bound;
mod timeout;

pub use cooperator::{CooperativeTask, Cooperator, NotPaused, TaskFinished};
pub(crate) use executor::Executor;
pub use filesystem_lock::{AlreadyTryingToLock, DeferredFilesystemLock};
pub use looping_call::{AlreadyLooping, LoopingCall};
pub use sleep::Sleep;
pub use stream::{AsyncStream, StreamFactory};
pub use timeout::{AddTimeout, TimedOut};
