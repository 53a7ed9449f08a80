//! Futures on the loop: tasks that run on the same thread as the protocols.

mod channel;
mod cooperator;
mod defer_later;
mod executor;
mod filesystem_lock;
#[cfg(feature = "futures-io")]
mod futures_io;
#[cfg(feature = "hyper")]
pub mod hyper;
mod looping_call;
mod scope;
mod sleep;
mod stream;
#[cfg(feature = "hyper")]
mod thread_bound;
mod timeout;
mod yield_now;

pub use channel::{
    Receiver, SendError, Sender, TryRecvError, TrySendError, UnboundedSender, channel, unbounded_channel,
};
pub use cooperator::{CooperativeTask, Cooperator, NotPaused, TaskFinished};
pub use filesystem_lock::{AlreadyTryingToLock, DeferredFilesystemLock};
pub use looping_call::{AlreadyLooping, LoopingCall};
pub use scope::{Scope, ScopedTask};
pub use sleep::Sleep;
pub use stream::{AsyncChild, AsyncStream, ReadHalf, StreamFactory, WriteHalf, copy_bidirectional};
pub use timeout::{AddTimeout, TimedOut};
pub use yield_now::yield_now;
