//! The parts of ropewalk that need no operating system: deferred results, timers, framing and parsers.
//!
//! Everything here takes bytes and time as arguments and returns what to do next. The crate has no sockets, clocks,
//! threads or `unsafe` code. The event providers of `ropewalk-sys` and the reactor of `ropewalk` supply the rest.

#![forbid(unsafe_code)]

mod address;
mod deferred;
pub mod description;
#[doc(hidden)]
pub mod escape;
pub mod framing;
#[doc(hidden)]
pub mod last_resort;
mod layer;
mod moment;
mod outbox;
pub mod panics;
pub mod proxy_header;
mod random;
mod slab;
mod stream_state;
mod timer_queue;

pub use address::{Address, DEFAULT_BACKLOG};
pub use deferred::{
    Abandoned, AlreadyCalled, CancelHandle, Cancelled, Deferred, DeferredError, DeferredList, DeferredLock,
    DeferredQueue, DeferredSemaphore, Failure, FailureGroup, FirstError, FirstOrAll, Outcome, Panicked, Pause, Permit,
    QueueOverflow, QueueUnderflow, Resolver, WaitsForItself, fail, gather_results, maybe_deferred, race, succeed,
};
pub use layer::{Layer, LayerState};
pub use moment::Moment;
pub use outbox::Outbox;
pub use random::Random;
pub use slab::{Key, SecondaryMap, Slab};
pub use stream_state::{EndStep, Step, StreamState};
pub use timer_queue::{Mark, TimerKey, TimerQueue};
