//! The interfaces of the reactor, each a module with its methods on [`Reactor`](crate::Reactor).

pub mod core;
pub mod fd_set;
pub mod resolver;
pub mod signals;
pub mod socket;
pub mod tcp;
pub mod threads;
pub mod time;
pub mod unix;
