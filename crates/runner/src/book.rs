//! Compiles the samples of the book that need the runner. The reactor crate compiles the others.

#[doc = include_str!("../../../docs/src/daemons.md")]
pub struct Daemons;
