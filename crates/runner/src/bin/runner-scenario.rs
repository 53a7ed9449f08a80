//! A program for the tests of the runner. Its argument selects how it runs and ends.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use ropewalk::application::{Service, StreamServerEndpointService, TimerService};
use ropewalk::endpoints::server_from_string;
use ropewalk::testing::AccumulatingProtocol;
use ropewalk::{Deferred, PanicPolicy, Reactor, succeed};
use ropewalk_runner::{Runner, RunnerOptions};

#[derive(Parser)]
struct CommandLine {
    scenario: Scenario,
    #[command(flatten)]
    runner: RunnerOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Runs until a signal.
    Patient,
    /// A callback panics. The panic is only logged.
    PanicOn,
    /// A callback panics. The panic stops the program.
    PanicStop,
    /// Panics before the reactor runs.
    PanicEarly,
    /// Aborts while it starts.
    Abort,
    /// A service never stops.
    Stuck,
    /// Listens on standard input and output, without asking for the foreground.
    Stdio,
    /// Starts a thread before the daemon is forked.
    Threads,
    /// Starts when there is a file `go`.
    Slow,
    /// Blocks the loop until there is a file `go`.
    Blocked,
}

/// A service that never stops.
struct Stuck;

impl Service for Stuck {
    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        tracing::error!("stop requested, which never completes");
        let (deferred, resolver) = Deferred::new();
        std::mem::forget(resolver);
        deferred
    }
}

/// A service that has started when there is a file `go`.
struct Slow;

impl Service for Slow {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        match Path::new("go").exists() {
            true => succeed(()),
            false => reactor.defer_later(Duration::from_millis(10), |reactor| Slow.start(reactor)),
        }
    }
}

/// A service whose start blocks the loop until there is a file `go`.
struct Blocked;

impl Service for Blocked {
    fn start(&self, _reactor: &Reactor) -> Deferred<()> {
        tracing::error!("blocked");
        while !Path::new("go").exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        succeed(())
    }
}

fn main() -> ExitCode {
    let line = match ropewalk_runner::parse::<CommandLine>("scenario") {
        Ok(line) => line,
        Err(status) => return status,
    };
    if let Some(status) = line.runner.answer(CommandLine::command()) {
        return status;
    }
    if matches!(line.scenario, Scenario::Threads) {
        std::thread::spawn(std::thread::park);
    }
    Runner::new("scenario", line.runner).daemon_by_default().run(move |reactor, services| {
        match line.scenario {
            Scenario::Patient | Scenario::Threads => {}
            Scenario::PanicOn => reactor.set_panic_policy(PanicPolicy::Log),
            Scenario::PanicStop => reactor.set_panic_policy(PanicPolicy::Stop),
            Scenario::PanicEarly => panic!("too early"),
            Scenario::Abort => std::process::abort(),
            Scenario::Slow => drop(services.add_named("slow", Slow)?),
            Scenario::Blocked => drop(services.add_named("blocked", Blocked)?),
            Scenario::Stuck => drop(services.add_named("stuck", Stuck)?),
            Scenario::Stdio => {
                let endpoint = server_from_string(reactor, "stdio:")?;
                services.add(StreamServerEndpointService::new(endpoint, AccumulatingProtocol::new));
            }
        }
        if matches!(line.scenario, Scenario::PanicOn | Scenario::PanicStop) {
            reactor.call_later(Duration::ZERO, |_| panic!("no more"));
        }
        services.add_named("alive", TimerService::new(Duration::from_secs(1), |_| tracing::info!("alive")))?;
        Ok(())
    })
}
