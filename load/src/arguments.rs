//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const ABOUT: &str = "The release program under load: memory, lateness and losses, each figure with its bar";

const METHOD: &str = "\
Scenarios, with their names for --only (any part of a name works):
  descriptors   500 clients of a server that may open 256 files
  idle          wake-ups of a server with 100 silent clients
  slow-readers  1,000 slow readers of a 100 MB file: their memory, and 100 good clients beside them
  lateness      a timer of 10 ms beside a firehose, calls that reschedule themselves, and calls from four threads
  signals       SIGINT and SIGTERM at 200 random moments of each phase, daemonizing included
  crowd         9,000 connections that exchange messages for 20 seconds
  churn         100,000 connections, one after the other
  leaks         10,000 reactors and 200,000 Deferreds
  spawns        10,000 children, 200 at once, beside those of another thread; 3,000 that are killed or leave others

The programs are children of this one, and are killed after ten minutes. All traffic stays on the loopback network.
The exit status is 1 if an exact figure misses its bar. A figure of time depends on the machine: with --quick it is only
reported.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "ropewalk-load", about = ABOUT, after_long_help = METHOD, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// Scenarios, reactors and output.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// A tenth of the clients and of the time
    #[arg(long)]
    pub(crate) quick: bool,

    /// Run only scenarios whose name contains one of these
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Run only on these reactors [default: all that are available]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) reactors: Vec<String>,

    /// File for the figures
    #[arg(long, value_name = "FILE", default_value = "target/load/results.json")]
    pub(crate) json: PathBuf,
}

/// The role in which the program starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Run one task in this process, and print its figure
    Subject(SubjectArguments),
}

/// A task in a process of its own.
#[derive(Args, Debug)]
pub(crate) struct SubjectArguments {
    /// Task to run
    pub(crate) task: Task,

    /// Name of the reactor
    pub(crate) reactor: String,

    /// Number of repetitions, or of milliseconds
    pub(crate) amount: u64,
}

/// A task of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Lateness of a timer while clients send as fast as they can
    Firehose,
    /// Lateness of a timer beside calls that reschedule themselves
    Calls,
    /// Lateness of a timer while four threads queue calls
    Threads,
    /// Memory and descriptors that are left of many reactors
    Reactors,
    /// Memory that is left of many Deferreds
    Deferreds,
    /// Statuses, costs and remains of many children
    Spawns,
    /// Statuses and remains of children that are killed or leave other programs behind
    Deaths,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_scenario() {
        for (name, _) in crate::scenarios::SCENARIOS {
            assert!(METHOD.contains(&format!("\n  {name} ")), "{name}");
        }
    }
}
