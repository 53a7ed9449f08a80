//! Child processes of the system: [`Processes`](crate::Processes), once for all providers.
//!
//! Linux reports the end of a process through a descriptor, so a provider needs no signal handler and waits for no
//! child but its own. Other systems have no implementation yet: their providers return no `Processes`.

#[cfg_attr(linux_like, path = "linux/mod.rs")]
#[cfg_attr(not(linux_like), path = "none.rs")]
mod system;

pub(crate) use system::Children;
#[cfg(linux_like)]
pub(crate) use system::HasChildren;
