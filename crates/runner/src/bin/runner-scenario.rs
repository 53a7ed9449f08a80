//! A program that ends in the way that its argument names, for the tests of the runner.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use ropewalk::application::{Service, StreamServerEndpointService, TimerService};
use ropewalk::endpoints::server_from_string;
use ropewalk::testing::AccumulatingProtocol;
use ropewalk::{Deferred, PanicPolicy, Reactor};
use ropewalk_runner::{Runner, RunnerOptions};

#[derive(Parser)]
struct CommandLine {
    how: How,
    #[command(flatten)]
    runner: RunnerOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// A signal ends it.
    Patient,
    /// A callback panics, and that is only logged.
    PanicOn,
    /// A callback panics, and that stops it.
    PanicStop,
    /// It panics before the loop runs.
    PanicEarly,
    /// It dies while it starts.
    Abort,
    /// A service never stops.
    Stuck,
    /// It wants its terminal, which it has not said.
    Stdio,
    /// A thread runs before it goes into the background.
    Threads,
}

/// Stays when it should go.
struct Stuck;

impl Service for Stuck {
    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        tracing::error!("stopping, or not");
        let (deferred, resolver) = Deferred::new();
        std::mem::forget(resolver);
        deferred
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
    if matches!(line.how, How::Threads) {
        std::thread::spawn(std::thread::park);
    }
    Runner::new("scenario", line.runner).daemon_by_default().run(move |reactor, services| {
        match line.how {
            How::Patient | How::Threads => {}
            How::PanicOn => reactor.set_panic_policy(PanicPolicy::Log),
            How::PanicStop => reactor.set_panic_policy(PanicPolicy::Stop),
            How::PanicEarly => panic!("too early"),
            How::Abort => std::process::abort(),
            How::Stuck => drop(services.add_named("stuck", Stuck)?),
            How::Stdio => {
                let endpoint = server_from_string(reactor, "stdio:")?;
                services.add(StreamServerEndpointService::new(endpoint, AccumulatingProtocol::new));
            }
        }
        if matches!(line.how, How::PanicOn | How::PanicStop) {
            reactor.call_later(Duration::ZERO, |_| panic!("no more"));
        }
        services.add_named("alive", TimerService::new(Duration::from_secs(1), |_| tracing::info!("alive")))?;
        Ok(())
    })
}
