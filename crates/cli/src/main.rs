//! `ropewalk`: small network services on a choice of reactors, and a way to compare the reactors.

mod arguments;
mod commands;
mod connection_limit;
mod descriptors;
mod doctor;
mod foreign_options;
mod idle;
mod listen;
mod values;

use std::process::ExitCode;

use ropewalk_runner::Runner;

use arguments::{Action, Command, PROGRAM};
use commands::CommandService;

fn main() -> ExitCode {
    let line = match arguments::parse() {
        Ok(line) => line,
        Err(status) => return status,
    };
    let command = match line.command {
        Some(Action::Doctor) => return doctor::run(),
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
