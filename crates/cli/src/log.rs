//! The log, on standard error.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::announce;

/// Filters by target, such as `ropewalk=debug,hyper=warn`. Nothing else is read from the environment.
const ENVIRONMENT: &str = "ROPEWALK_LOG";

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Errors alone.
    Quiet,
    /// Warnings too; with 1 and more, information, debugging notes, everything.
    Verbose(u8),
}

/// Begins to log.
pub(crate) fn start(verbosity: Verbosity) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        // It would report a closed standard error there, and panic.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines.with_filter(filter(verbosity))).init();
}

fn filter(verbosity: Verbosity) -> Targets {
    if let Ok(text) = std::env::var(ENVIRONMENT) {
        match text.parse() {
            Ok(targets) => return targets,
            Err(error) => announce::complain(&format!("{ENVIRONMENT} is not understood: {error}")),
        }
    }
    Targets::new().with_default(match verbosity {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Verbose(0) => LevelFilter::WARN,
        Verbosity::Verbose(1) => LevelFilter::INFO,
        Verbosity::Verbose(2) => LevelFilter::DEBUG,
        Verbosity::Verbose(_) => LevelFilter::TRACE,
    })
}
