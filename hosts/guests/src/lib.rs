//! The reactor as a guest of other runtimes. The programs in `examples/` are adapters of a page each, to be copied:
//!
//! - `tokio_guest`: a task of a `LocalSet` makes the turns.
//! - `calloop_guest`: a source of the descriptor, a ping and a timer make the turns.
//!
//! Both runtimes can watch a descriptor, so they need no thread. epoll and io_uring have a descriptor.
