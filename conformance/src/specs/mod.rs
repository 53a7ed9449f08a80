//! The specifications, a module for each interface.

pub mod core;
#[cfg(unix)]
pub mod signals;
pub mod tcp;
pub mod time;
