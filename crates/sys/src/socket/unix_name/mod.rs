//! UNIX addresses that are not paths.

#[cfg_attr(linux_like, path = "with_abstract.rs")]
#[cfg_attr(not(linux_like), path = "paths_only.rs")]
mod names;

pub(super) use names::{decode_abstract, named};
