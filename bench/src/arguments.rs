//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::candidate::Candidate;
use crate::servers::BUFFER_BYTES;

const ABOUT: &str = "ropewalk beside its peers: the cost of a message, as ratios";

const METHOD: &str = "\
How it measures:
  Each candidate is an echo server in a process of its own (this program again), pinned to one core. The client runs on
  the same core. Both have the policy SCHED_BATCH, so neither pre-empts the other: all connections send, then all
  receive. A sample is the server's processor time (schedstat of /proc) over the window, divided by the messages.
  Candidates take turns (A B C, then C B A), each round with fresh processes. The tables show medians, and ratios of
  samples of the same round. Trust the ratios more than the units, and nothing that was measured in a debug build.

Scenarios, with their names for --only (any part of a name works):
  echo/BYTES/CONNECTIONS       lock-step echo: 64, 1024, 16384, 102400 bytes; 1, 50, 1000 connections
  pipelined/1024/50            16 messages of 1 KiB sent before the first answer is awaited
  latency/64/50/p99            from a request to its answer, in lock-step
  churn/64/50                  connect, one echo, close
  datagrams/BYTES/PEERS/EACH   UDP: each peer sends EACH datagrams in a row and then receives their echoes
  crowd/64/IDLE                one active connection among 100, 900 or 19,900 idle ones, against one among 10
  idle/...                     memory of each of 10,000 connections that have echoed once (tokio: with a 1 KiB buffer)
  timers/...                   schedule, set-and-cancel, fire: 100,000 live, against tokio's
  calls/...                    call_from_thread against tokio's spawn onto its loop: in bursts of 1000, and one at a time
  tls/BYTES/CONNECTIONS        lock-step echo over TLS 1.3, against tokio-rustls: 1024, 16384 bytes; 1, 50 connections
  tls/handshakes/...           handshake, one echo, close: full and resumed, 8 connections at a time
  tls/idle/...                 memory of each of 300 connections that have echoed once
  tls/instructions/1024        user-space instructions per message; needs --instructions and valgrind
  instructions/64/50           user-space instructions per message, by callgrind; needs --instructions and valgrind
  syscalls/64/64/...           system calls per message, by strace; needs --syscalls and strace

Examples:
  cargo xtask bench                                     the whole table, about a quarter of an hour
  cargo xtask bench --quick                             under a minute, for a first impression
  cargo xtask bench --only echo/16384 --rounds 15       one row, with more rounds
  cargo xtask bench --only instructions --instructions --candidates raw-epoll,ropewalk";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "ropewalk-bench", about = ABOUT, after_long_help = METHOD, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// Scenarios, durations and output.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Fewer rounds, shorter windows, only the most telling scenarios: under a minute
    #[arg(long)]
    pub(crate) quick: bool,

    /// Run only scenarios whose name contains one of these
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Measure only these: raw-epoll, raw-uring, mio, tokio, ropewalk-epoll, ropewalk-uring, ropewalk-poll,
    /// ropewalk-select
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) candidates: Vec<Candidate>,

    /// Number of rounds of each scenario that has a spread [default: 7, or 5 with --quick]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: Option<u16>,

    /// Time for which one server is measured in one round, in milliseconds [default: 400, or 60 with --quick]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) window: Option<u64>,

    /// Core for client and server [default: the last one allowed]
    #[arg(long)]
    pub(crate) core: Option<usize>,

    /// Also count user-space instructions per message with valgrind's callgrind
    #[arg(long)]
    pub(crate) instructions: bool,

    /// Also count system calls per message with strace
    #[arg(long)]
    pub(crate) syscalls: bool,

    /// Print the tables in Markdown, for the documentation
    #[arg(long)]
    pub(crate) markdown: bool,

    /// File for all samples
    #[arg(long, value_name = "FILE", default_value = "target/bench/results.json")]
    pub(crate) json: PathBuf,
}

/// The roles in which the program starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Run one candidate's echo server until standard input ends
    Serve(ServeArguments),
    /// Time one candidate's timers or calls in this process, and print nanoseconds
    Probe(ProbeArguments),
}

/// A server to start.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Candidate that serves
    pub(crate) candidate: Candidate,

    /// Port on the loopback (0 lets the system choose); it is printed on the first line of standard output
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    /// Echo datagrams instead of streams
    #[arg(long)]
    pub(crate) datagrams: bool,

    /// Speak TLS 1.3 with the certificate and the key in this file
    #[arg(long, value_name = "FILE", conflicts_with = "datagrams")]
    pub(crate) tls: Option<PathBuf>,

    /// Let clients resume their sessions of TLS
    #[arg(long, requires = "tls")]
    pub(crate) resume: bool,

    /// Core to stay on
    #[arg(long)]
    pub(crate) core: Option<usize>,

    /// Size of a receive buffer, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = BUFFER_BYTES)]
    pub(crate) buffer: usize,
}

/// A probe to run.
#[derive(Args, Debug)]
pub(crate) struct ProbeArguments {
    /// Operations to time
    pub(crate) probe: Probe,

    /// Candidate that is timed
    pub(crate) candidate: Candidate,

    /// Core to stay on
    #[arg(long)]
    pub(crate) core: Option<usize>,
}

/// The operations that a probe times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    /// Schedule, set-and-cancel and fire
    Timers,
    /// Calls queued from another thread
    Calls,
    /// Programs that are started, read and waited for
    Spawns,
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
    fn lists_are_separated_by_commas() {
        let arguments = Arguments::parse_from(["bench", "--candidates", "mio,ropewalk", "--only", "echo/64,churn"]);
        assert_eq!(arguments.run.candidates, [Candidate::Mio, Candidate::ROPEWALK]);
        assert_eq!(arguments.run.only, ["echo/64", "churn"]);
    }
}
