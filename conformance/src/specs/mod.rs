//! The specifications, a module for each interface.

pub mod core;
pub mod tcp;
pub mod time;
