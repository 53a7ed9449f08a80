//! The samples of the book that need the runner, compiled as documentation tests; the others are the reactor's.

#[doc = include_str!("../../../docs/src/daemons.md")]
pub struct Daemons;
