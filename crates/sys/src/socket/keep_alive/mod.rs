//! The times of keep-alive probes.

#[cfg_attr(keep_alive_timed, path = "timed.rs")]
#[cfg_attr(not(keep_alive_timed), path = "none.rs")]
mod system;

pub(super) use system::{set_times, times};
