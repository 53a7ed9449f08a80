//! Runs programs made of ropewalk services, as `twistd` does: options, daemon mode, pid file, log, configuration file.
//!
//! ```text
//!   options, file -> chroot, rundir, umask -> pid file -> fork -> log -> reactor -> services:
//!   privileged_start -> switch user and group -> start -> notify the parent and the supervisor
//! ```
//!
//! A program adds [`RunnerOptions`] to its own command line, and adds its services in [`Runner::run`]:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::time::Duration;
//!
//! use clap::{CommandFactory, Parser};
//! use ropewalk::application::TimerService;
//! use ropewalk_runner::{Runner, RunnerOptions};
//!
//! /// Logs a line at regular intervals.
//! #[derive(Parser)]
//! #[command(name = "alive", version)]
//! struct CommandLine {
//!     /// Interval in seconds
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
//! | exit status | meaning |
//! |---|---|
//! | 0 | stopped in order, also by a first SIGINT or SIGTERM |
//! | 1 | a service could not start, output could not be written, or the program called [`fail`] |
//! | 2 | the command line or the configuration file is wrong |
//! | 101 | stopped by a panic |
//! | 128 + signal | a second signal arrived before the services had stopped |
//!
//! A signal that arrives while the start of a service blocks the reactor kills the program after 5 seconds.

#![forbid(unsafe_code)]

mod arguments;
#[cfg(doctest)]
pub mod book;
mod configuration;
pub mod console;
mod failure;
mod launch;
mod log;
mod manual;
mod options;
mod panics;
mod reactors;
mod serving;
mod start_watch;
mod supervisor;
mod system;

pub use arguments::parse;
pub use configuration::{BoxedError, Kinds, seconds};
pub use failure::fail;
pub use launch::Runner;
pub use log::LIFECYCLE;
pub use options::{LogFormat, RunnerOptions, Size, Umask};
pub use reactors::Hosts;
