//! Runs a program made of ropewalk's services, as `twistd` does: options, background, pid file, log, configuration.
//!
//! ```text
//!   options, file -> chroot, rundir, umask -> pid file -> background -> log -> reactor -> services:
//!   privileged_start -> user and group -> start -> "it has started", to the parent and the supervisor
//! ```
//!
//! A program flattens [`RunnerOptions`] into its own command line, and gives [`Runner::run`] its services:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::time::Duration;
//!
//! use clap::{CommandFactory, Parser};
//! use ropewalk::application::TimerService;
//! use ropewalk_runner::{Runner, RunnerOptions};
//!
//! /// Says that it is alive.
//! #[derive(Parser)]
//! #[command(name = "alive", version)]
//! struct CommandLine {
//!     /// How often, in seconds
//!     #[arg(long, default_value_t = 60)]
//!     every: u64,
//!     #[command(flatten)]
//!     runner: RunnerOptions,
//! }
//!
//! fn main() -> ExitCode {
//!     let line = match ropewalk_runner::parse::<CommandLine>("alive") {
//!         Ok(line) => line,
//!         Err(status) => return status,
//!     };
//!     if let Some(status) = line.runner.answer(CommandLine::command()) {
//!         return status;
//!     }
//!     Runner::new("alive", line.runner).run(move |_reactor, services| {
//!         let every = Duration::from_secs(line.every);
//!         services.add_named("alive", TimerService::new(every, |_| tracing::info!("alive")))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Its status is 0 when it ended in order, which a first SIGINT or SIGTERM is; 1 when it could not do what it should; 2
//! when the command line or the configuration is wrong; 101 after a panic that ended it; 128 and the number of the
//! signal when a second one cut the end short.

#![forbid(unsafe_code)]

pub mod announce;
mod arguments;
#[cfg(doctest)]
pub mod book;
mod configuration;
mod launch;
mod log;
mod options;
mod panics;
mod reactors;
mod serving;
mod supervisor;
mod system;

pub use arguments::parse;
pub use configuration::{BoxedError, Kinds};
pub use launch::Runner;
pub use options::{LogFormat, RunnerOptions, Size, Umask};
