//! ropewalk

#![forbid(unsafe_code)]

pub mod testing;
