//! `ropewalk`: small network services on a choice of reactors, and a way to compare the reactors.

mod arguments;
mod commands;
mod connection_limit;
mod descriptors;
mod doctor;
mod endpoint_types;
mod foreign_options;
mod idle;
mod listen;
mod process_options;
#[cfg_attr(not(feature = "tls"), path = "without_self_signed.rs")]
mod self_signed;
mod values;
mod watch_options;

use std::process::ExitCode;

use ropewalk_runner::{Runner, RunnerOptions};

use arguments::{Action, Command, Connect, PROGRAM};
use commands::CommandService;
use commands::connect::{ConnectService, NEEDS_FOREGROUND};

fn main() -> ExitCode {
    let line = match arguments::parse() {
        Ok(line) => line,
        Err(status) => return status,
    };
    let command = match line.command {
        Some(Action::Doctor) => return doctor::run(),
        Some(Action::Connect(options)) => return connect(line.runner, options),
        Some(Action::Serve(command)) => Some(command),
        None => None,
    };
    let quiet = line.runner.quiet;
    let needs_foreground = command.as_ref().and_then(Command::needs_foreground);
    let runner = Runner::new(PROGRAM, line.runner).kinds(commands::kinds(quiet)).needs_foreground(needs_foreground);
    runner.run(move |_reactor, services| {
        if let Some(command) = command {
            services.add(CommandService::new(command, quiet));
        }
        Ok(())
    })
}

fn connect(runner: RunnerOptions, options: Connect) -> ExitCode {
    let runner = Runner::new(PROGRAM, runner).needs_foreground(Some(NEEDS_FOREGROUND.to_owned()));
    runner.run(move |_reactor, services| {
        services.add(ConnectService::new(options));
        Ok(())
    })
}
