//! ropewalk beside its peers: the cost of a message, as ratios.
//!
//! ```text
//!   run ── for each scenario, for each round, candidates in turn (A B C, C B A) ──┐
//!    │                                                                            │
//!    │  server: this program again, `serve CANDIDATE`, pinned                     │
//!    │  client: this process, pinned to the same core, SCHED_BATCH, lock-step     │
//!    │  sample: the server's processor time over the window / messages            │
//!    └── medians and spread of samples and of ratios ── bars ── table, JSON ──────┘
//! ```
//!
//! This is not a load generator: requests a second on a shared machine are noise, so they are not reported. The load tests
//! (`load/`) use its client and its accounting.

#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

pub mod accounting;
mod arguments;
mod bars;
mod candidate;
pub mod client;
mod machine;
mod peers;
mod placement;
mod probes;
mod process;
mod report;
mod run;
mod scenarios;
mod secure;
mod servers;

pub use machine::Machine;
pub use run::main;
