//! The interfaces of the reactor. Each module adds its methods to [`Reactor`](crate::Reactor).

pub mod core;
pub mod fd_set;
pub mod resolver;
pub mod signals;
pub mod socket;
pub mod tcp;
pub mod threads;
pub mod time;
pub mod unix;
