//! The chapters whose samples need a toolkit.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/toolkits.md")]
pub struct Toolkits;
