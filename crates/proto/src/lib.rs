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
pub mod hosts_file;
#[doc(hidden)]
pub mod last_resort;
mod layer;
mod moment;
mod outbox;
pub mod panics;
pub mod proxy_header;
mod random;
pub mod serial;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn may_be_sent<T: Send>() {}

    fn may_be_shared<T: Send + Sync>() {}

    #[test]
    fn the_types_keep_their_promises_about_threads() {
        // The documentation of each type makes the promise. A violation does not compile.
        may_be_shared::<Address>();
        may_be_shared::<description::Arguments<'static>>();
        may_be_shared::<description::Description>();
        may_be_shared::<description::DescriptionError>();
        may_be_shared::<hosts_file::HostsFile>();
        may_be_shared::<panics::Place>();
        may_be_shared::<Random>();
        may_be_sent::<framing::IntPrefixedDecoder<u16>>();
        may_be_sent::<framing::LineDecoder>();
        may_be_sent::<framing::NetstringDecoder>();
        may_be_sent::<Outbox>();
        may_be_sent::<panics::CaughtPanic>();
        may_be_sent::<proxy_header::ProxyHeaderParser>();
        may_be_sent::<SecondaryMap<u8>>();
        may_be_sent::<Slab<u8>>();
        may_be_sent::<TimerQueue<u8>>();
    }
}
